"""Writing the chunks of a sealed file, in order (docs/spec.md, section 9)."""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.sealing.header import Header, payload_key
from mmseg_keyprotect.sealing.signatures import Signer, content_digest

if TYPE_CHECKING:
    from typing_extensions import Buffer

TAG = 16
"""The bytes by which a sealed chunk is longer than the plain one."""


def nonce(index: int, last: bool) -> bytes:
    """Return the nonce of a chunk, 12 bytes."""
    return index.to_bytes(11, 'little') + bytes([last])


class ChunkWriter:
    """Writes a header and chunks that are sealed already, and signs them.

    Args:
        file: Receives the bytes; it stays open. For a signed file it must be able to seek.
        header: The header.
        file_key: The key of the file.
        signer: Who signs it, if anybody.
    """

    def __init__(self, file: BinaryIO, header: Header, file_key: bytes, signer: Signer | None = None) -> None:
        self._file, self._header, self._signer = file, header, signer
        self._file_key = b'' if signer is None else file_key
        self._digests = bytearray()
        self._start = 0 if signer is None else file.tell()
        file.write(header.to_bytes(file_key))

    def write(self, sealed: Buffer) -> None:
        """Write one chunk."""
        self._file.write(sealed)
        if self._signer is not None:
            self._digests += sha256(sealed).digest()

    def finish(self) -> None:
        """Write the digests, and the header again with the signature; nothing where nobody signs."""
        if self._signer is None:
            return
        self._file.write(self._digests)
        end = self._file.tell()
        self._file.seek(self._start)
        self._file.write(self._header.signed(self._signer, content_digest(self._digests)).to_bytes(self._file_key))
        self._file.seek(end)


class SealedWriter(io.RawIOBase):
    """A writable file that seals the bytes written to it.

    Call :meth:`~mmseg_keyprotect.sealing.SealedWriter.finish` at the end: it marks the last chunk as the last. A writer
    that is only closed leaves an incomplete file, which every reader refuses.

    Args:
        file: Receives the sealed bytes; it stays open. For a signed file it must be able to seek.
        header: The header of the new file.
        file_key: 32 fresh random bytes.
        signer: Who signs it, if anybody: the one the header was made for.

    Attributes:
        header (~mmseg_keyprotect.sealing.header.Header): The header.

    Example:
        >>> from mmseg_keyprotect.sealing import KeyRecipient
        >>> from mmseg_keyprotect.sealing.header import Header
        >>> file, file_key = io.BytesIO(), bytes(32)  # use random bytes
        >>> writer = SealedWriter(file, Header.new(file_key, [KeyRecipient(SecretKey.generate())], ''), file_key)
        >>> writer.write(b'weights')
        7
        >>> writer.finish()
    """

    def __init__(self, file: BinaryIO, header: Header, file_key: bytes, signer: Signer | None = None) -> None:
        super().__init__()
        self.header, self._size, self._index = header, header.chunk_size, 0
        self._aes = AESGCM(payload_key(header, file_key))
        self._rest = bytearray()
        self._chunks = ChunkWriter(file, header, file_key, signer)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Seal bytes. A chunk is written out once at least one byte follows it.

        Returns:
            The number of bytes, always all of them.
        """
        view, start = memoryview(data).cast('B'), 0
        while len(self._rest) + len(view) - start > self._size:
            end = start + self._size - len(self._rest)
            self._put(self._rest + view[start:end] if self._rest else view[start:end], last=False)
            self._rest, start = bytearray(), end
        self._rest += view[start:]
        return len(view)

    def finish(self) -> None:
        """Write the last chunk, and close this writer."""
        self._put(self._rest, last=True)
        self._chunks.finish()
        self.close()

    def _put(self, data: bytearray | memoryview, last: bool) -> None:
        self._chunks.write(self._aes.encrypt(nonce(self._index, last), data, None))
        self._index += 1
