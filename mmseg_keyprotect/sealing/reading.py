"""Reading the chunks of a sealed file, from any position (docs/spec.md, section 9)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.sealing.entries import Opener
from mmseg_keyprotect.sealing.header import payload_key
from mmseg_keyprotect.sealing.parsing import read_header
from mmseg_keyprotect.sealing.signatures import DIGEST, content_digest
from mmseg_keyprotect.sealing.writing import TAG, nonce

if TYPE_CHECKING:
    from typing_extensions import Buffer

    _Buffered = io.BufferedReader['SealedReader']
else:
    _Buffered = io.BufferedReader

MAX_CHUNKS = 1 << 26
"""16 TiB in chunks of 256 KiB."""

_BUFFER = 1 << 12  # larger reads bypass the buffer, which saves a copy


class SealedReader(io.RawIOBase):
    """The plain bytes of a sealed file, decrypted in memory one chunk at a time; it can seek.

    Use :func:`mmseg_keyprotect.sealing.open_sealed`, which buffers it and verifies the whole file.

    Args:
        file: The sealed file, seekable; it is closed with this reader.
        key: The secret key or another identity, if any.
        passphrase: The passphrase, or a function that returns it, if any.
        publisher: The text of the publisher who must have signed the file; empty where anybody or nobody may.
        licence: Whether the licence of a signed file counts.

    Attributes:
        header (~mmseg_keyprotect.sealing.header.Header): The header of the file.
        file_key (bytes): The key of the file.
        opened_as (str): The type of the recipient that opened it: ``key``, ``x25519``, ``p256``, ``age`` or
            ``passphrase``.
        size (int): The number of plain bytes.
        chunks (int): The number of chunks.
        failure (SealedFileError | None): The error of a damaged chunk, once one was met.

    Raises:
        SignatureError: The signature is of another file, of another publisher, or missing.
        LicenceError: The licence has not begun, has ended, or is for another device.
        WrongKeyError: The file is sealed for other recipients.
        SealedFileError: The file is damaged. The reader finds a damaged chunk when it decrypts the chunk; see
            :meth:`~mmseg_keyprotect.sealing.SealedReader.read_all_chunks`.
        UnsupportedSpecError: The file has a newer version.

    Example:
        >>> from mmseg_keyprotect.sealing import KeyRecipient, seal_file
        >>> key = SecretKey.generate()
        >>> with open('weights', 'wb') as file:
        ...     _ = file.write(b'plain')
        >>> seal_file('weights', 'weights.sealed', [KeyRecipient(key)])
        >>> with SealedReader(open('weights.sealed', 'rb'), key) as reader:
        ...     reader.size, reader.read()
        (5, b'plain')
    """

    def __init__(
        self,
        file: io.BufferedIOBase,
        key: SecretKey | Opener | None = None,
        passphrase: Passphrase = None,
        publisher: str = '',
        licence: bool = True,
    ) -> None:
        super().__init__()
        self._file = file
        self.header, head, mac = read_header(file)
        self.header.check(publisher, licence)
        self._start = file.tell()
        self.size = self._measure(file.seek(0, io.SEEK_END) - self._start)
        self.file_key, self.opened_as = self.header.open(key, passphrase, head, mac)
        self._aes = AESGCM(payload_key(self.header, self.file_key))
        self._position, self._held, self._plain = 0, -1, memoryview(b'')
        self.failure: SealedFileError | None = None
        self._sealed = bytearray(self._step)
        self._buffer = bytearray()
        self._seen = bytearray(self.chunks)
        self._load(self.chunks - 1)  # finds a truncated file and an appended tail at once

    def _measure(self, sealed: int) -> int:
        """Return the number of plain bytes, and find the chunks and their digests.

        Args:
            sealed: Bytes behind the header.
        """
        self._step, digest = self.header.chunk_size + TAG, 0 if self.header.signature is None else DIGEST
        self.chunks = -(-sealed // (self._step + digest))
        if self.chunks > MAX_CHUNKS:
            raise SealedFileError(
                f'Expected at most {MAX_CHUNKS} chunks, but got {self.chunks}: the file was made to exhaust this '
                'machine. Use another copy of it.'
            )
        self._end = sealed - self.chunks * digest
        last = self._end - (self.chunks - 1) * self._step
        if self.chunks == 0 or last < TAG or (last == TAG and self.chunks > 1):  # a chunk is empty in an empty file
            raise self._damaged(max(self.chunks - 1, 0))
        self._step = min(self._step, self._end)
        self._digests = b''
        if self.header.signature is not None:
            self._file.seek(self._start + self._end)
            self._digests = self._file.read(self.chunks * DIGEST)
            if content_digest(self._digests) != self.header.signature.content:
                raise self._damaged(self.chunks - 1)
        return self._end - self.chunks * TAG

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position in the plain bytes, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position in the plain bytes."""
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with plain bytes as far as there are any, and return how many.

        Raises:
            SealedFileError: A chunk is damaged.
        """
        view, done = memoryview(buffer).cast('B'), 0
        while done < len(view) and self._position < self.size:
            index, offset = divmod(self._position, self.header.chunk_size)
            length = min(self.header.chunk_size, self.size - index * self.header.chunk_size)
            if index != self._held and not offset and len(view) - done >= length:
                self._load(index, view[done : done + length])  # without a copy
            else:
                if index != self._held:
                    self._load(index)
                length = min(length - offset, len(view) - done)
                view[done : done + length] = self._plain[offset : offset + length]
            done += length
            self._position += length
        return done

    def read_all_chunks(self) -> None:
        """Decrypt every chunk that was not read yet, so that damage anywhere is found.

        Raises:
            SealedFileError: A chunk is damaged.
        """
        for index, seen in enumerate(self._seen):
            if not seen:
                self._load(index)

    def sealed_chunks(self) -> Iterator[memoryview]:
        """Yield every chunk as it is sealed, once it has decrypted. The memory is used again for the next one.

        Raises:
            SealedFileError: A chunk is damaged.
        """
        for index in range(self.chunks):
            yield self._load(index)

    def close(self) -> None:
        """Close this reader and the sealed file."""
        super().close()
        self._file.close()

    def _load(self, index: int, into: memoryview | None = None) -> memoryview:
        """Decrypt a chunk, and return it as it was sealed.

        Args:
            index: Of the chunk.
            into: Receives the plain bytes, and is as long as they are. Default: the reader holds them.
        """
        start = index * self._step
        self._file.seek(self._start + start)
        sealed = memoryview(self._sealed)[: min(self._step, self._end - start)]
        sealed = sealed[: self._file.readinto(sealed)]
        try:
            place = slice(index * DIGEST, (index + 1) * DIGEST)
            if self._digests and sha256(sealed).digest() != self._digests[place]:
                raise InvalidTag
            plain = self._decrypt(nonce(index, index == self.chunks - 1), sealed, into)
        except InvalidTag:
            if into is not None:
                into[:] = bytes(len(into))  # nothing of a damaged chunk stays there
            self.failure = self._damaged(index)  # kept, because a reader in C++ may replace the exception
            raise self.failure from None
        self._seen[index] = 1
        if into is None:
            self._plain, self._held = memoryview(plain), index
        return sealed

    def _decrypt(self, nonce: bytes, sealed: memoryview, into: memoryview | None) -> Buffer:
        """Decrypt a chunk, reusing one buffer where ``decrypt_into`` exists."""
        if into is not None and len(sealed) != len(into) + TAG:  # the file has shrunk since it was opened
            raise InvalidTag
        if not hasattr(self._aes, 'decrypt_into'):
            plain = self._aes.decrypt(nonce, sealed, None)
            if into is not None:
                into[:] = plain
            return plain
        if into is None:
            self._held = -1  # the buffer holds no valid chunk until the tag is verified
            self._buffer = self._buffer or bytearray(self.header.chunk_size)
            into = memoryview(self._buffer)[: max(len(sealed) - TAG, 0)]
        self._aes.decrypt_into(nonce, sealed, None, into)
        return into

    def _damaged(self, index: int) -> SealedFileError:
        return SealedFileError(
            f'Expected an untouched sealed file, but chunk {index + 1} of {max(self.chunks, 1)} is damaged, out of '
            'its place, or missing: the file was changed or cut off. Use another copy of it.'
        )


class VerifiedReader(_Buffered):
    """A buffered reader of a sealed file that verifies the whole file when its ``with`` block ends.

    Make one with :func:`mmseg_keyprotect.sealing.open_sealed`. When the block ends without an exception, the reader
    decrypts every chunk that was not read, so that damage anywhere in the file is reported. An exception from inside
    the block passes unchanged. A reader that was closed before the end of the block has verified only what was read.

    Args:
        raw: The plain bytes; ``.raw`` is this reader.

    Example:
        >>> from mmseg_keyprotect.sealing import KeyRecipient, open_sealed, seal_file
        >>> key = SecretKey.generate()
        >>> with open('plain.bin', 'wb') as file:
        ...     _ = file.write(bytes(1000))
        >>> seal_file('plain.bin', 'sealed.bin', [KeyRecipient(key)])
        >>> with open_sealed('sealed.bin', key) as reader:
        ...     reader.raw.size, list(reader.read(4))
        (1000, [0, 0, 0, 0])
    """

    def __init__(self, raw: SealedReader) -> None:
        super().__init__(raw, _BUFFER)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; all of them in one piece, where the class above collects pieces of 8 KiB."""
        return super().read(max(self.raw.size - self.tell(), 0) if size is None or size < 0 else size)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Verify the chunks that were not read, unless an exception is passing, and close."""
        try:
            if kind is None and not self.closed:
                self.raw.read_all_chunks()
        finally:
            self.close()
