"""The chunks of a sealed file: written as they come, read from any place (docs/spec.md, section 9)."""

from __future__ import annotations

import io
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.files import Passphrase
from mmseg_keyprotect.sealing.header import Header, payload_key, read_header

TAG = 16


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, 'little') + bytes([last])


class SealedWriter(io.RawIOBase):
    """A file that seals what is written to it. Call :meth:`finish`: the last chunk says that it is the last.

    One that is only closed, or forgotten, leaves a file that no reader takes for whole.

    Args:
        file: Where the sealed bytes go; it stays open.
        header: Of the new file.
        file_key: 32 fresh random bytes.
    """

    def __init__(self, file: BinaryIO, header: Header, file_key: bytes) -> None:
        super().__init__()
        self._file, self._size, self._index = file, header.chunk_size, 0
        self._aes = AESGCM(payload_key(header, file_key))
        self._rest = bytearray()
        file.write(header.to_bytes(file_key))

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes) -> int:
        """Take bytes; whole chunks go out as soon as one more byte is known to follow."""
        data = memoryview(data).cast('B')
        start = 0
        while len(self._rest) + len(data) - start > self._size:
            end = start + self._size - len(self._rest)
            self._put(self._rest + data[start:end] if self._rest else data[start:end], last=False)
            self._rest, start = bytearray(), end
        self._rest += data[start:]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk, and close."""
        self._put(self._rest, last=True)
        self.close()

    def _put(self, data: bytes | bytearray | memoryview, last: bool) -> None:
        self._file.write(self._aes.encrypt(_nonce(self._index, last), data, None))
        self._index += 1


class SealedReader(io.RawIOBase):
    """The plain bytes of a sealed file, decrypted in memory a chunk at a time; it can seek.

    Args:
        file: The sealed file, seekable; it is closed with this one.
        key: The secret key, if any.
        passphrase: The passphrase, or a function that returns it, if any.

    Raises:
        WrongKeyError: The file is for other keys.
        SealedFileError: It is damaged. A damaged chunk is found when it is read: see :meth:`read_all_chunks`.
        UnsupportedSpecError: It is of a newer version.
    """

    def __init__(self, file: BinaryIO, key: SecretKey | None = None, passphrase: Passphrase = None) -> None:
        super().__init__()
        self._file = file
        self.header, head, mac = read_header(file)
        file_key = self.header.open(key, passphrase, head, mac)
        self.file_key = file_key
        self._aes = AESGCM(payload_key(self.header, file_key))
        self._start = file.tell()
        sealed = file.seek(0, io.SEEK_END) - self._start
        self._step = self.header.chunk_size + TAG
        self._chunks = -(-sealed // self._step)
        if self._chunks == 0 or sealed - (self._chunks - 1) * self._step < TAG:
            raise self._damaged(max(self._chunks - 1, 0))
        self.size = sealed - self._chunks * TAG
        self._position, self._held, self._plain = 0, -1, b''
        self.failure: SealedFileError | None = None
        self._sealed = bytearray(min(self._step, sealed))
        self._buffer = bytearray()
        self._seen = bytearray(self._chunks)
        self._load(self._chunks - 1)  # so that a cut or an appended tail is found at once

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the plain bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the place in the plain bytes."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer with plain bytes, as far as there are any."""
        view, done = memoryview(buffer).cast('B'), 0
        while done < len(view) and self._position < self.size:
            index, offset = divmod(self._position, self.header.chunk_size)
            if index != self._held:
                self._load(index)
            part = self._plain[offset : offset + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
            self._position += len(part)
        return done

    def read_all_chunks(self) -> None:
        """Decrypt every chunk that was not read yet, so that no damage stays unseen."""
        for index, seen in enumerate(self._seen):
            if not seen:
                self._load(index)

    def close(self) -> None:
        """Close the file too."""
        super().close()
        self._file.close()

    def _load(self, index: int) -> None:
        self._file.seek(self._start + index * self._step)
        sealed = memoryview(self._sealed)[: self._file.readinto(self._sealed)]
        try:
            plain = self._decrypt(_nonce(index, index == self._chunks - 1), sealed)
        except InvalidTag:
            self.failure = self._damaged(index)  # kept, since a reader in C++ may lose it
            raise self.failure from None
        self._plain, self._held, self._seen[index] = memoryview(plain), index, 1

    def _decrypt(self, nonce: bytes, sealed: bytes | memoryview) -> bytes | memoryview:
        """Decrypt a chunk, by a newer cryptography into the same memory every time."""
        if not hasattr(self._aes, 'decrypt_into'):
            return self._aes.decrypt(nonce, sealed, None)
        if not self._buffer:
            self._buffer = bytearray(self.header.chunk_size)
        plain = memoryview(self._buffer)[: max(len(sealed) - TAG, 0)]
        self._held = -1  # until the chunk is known to be untouched
        self._aes.decrypt_into(nonce, sealed, None, plain)
        return plain

    def _damaged(self, index: int) -> SealedFileError:
        return SealedFileError(
            f'Expected an untouched sealed file, but chunk {index + 1} of {max(self._chunks, 1)} is damaged, out of '
            'its place, or missing: the file was changed or cut off. Use another copy of it.'
        )
