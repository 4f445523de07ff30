"""Writing what sealed files hold to disk, plain."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmseg_keyprotect.files import new_file, new_folder
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing.entries import Opener
from mmseg_keyprotect.sealing.folders import extract_folder, holds_folder
from mmseg_keyprotect.sealing.sealed_files import COPY_BYTES, open_sealed


@without_locals
def unseal_file(
    source: str | Path, target: str | Path, key: SecretKey | Opener | None = None, passphrase: Passphrase = None
) -> None:
    """Write what a sealed file holds to disk, a file or a folder. Everyone who can read the disk can read it there.

    Args:
        source: The sealed file; it stays as it is.
        target: The file or folder to make.
        key: The secret key or another identity, if any.
        passphrase: The passphrase, or a function that returns it, if any.

    Raises:
        MissingFileError: The source is missing or cannot be read.
        OutputError: The target exists or cannot be written.
        SignatureError: The signature is of another file, of another publisher, or missing where one is required.
        LicenceError: The licence has not begun, has ended, or is for another device.
        WrongKeyError: The file is sealed for other recipients.
        SealedFileError: The file is damaged, or holds a folder that is unsafe to write; then nothing is written.
        MissingDependencyError: It holds a folder, and this version of Python cannot check the names in it.

    Example:
        >>> with sealed_output('zeros.sealed', [PassphraseRecipient('correct horse')]) as writer:
        ...     _ = writer.write(bytes(10))
        >>> unseal_file('zeros.sealed', 'zeros', passphrase='correct horse')
        >>> Path('zeros').read_bytes() == bytes(10)
        True
    """
    with open_sealed(source, key, passphrase) as reader:
        if holds_folder(reader):
            with new_folder(target) as temporary:
                extract_folder(reader, temporary)
                reader.raw.read_all_chunks()  # before the target appears
            return
        with new_file(target) as temporary, open(temporary, 'wb') as file:
            shutil.copyfileobj(reader, file, COPY_BYTES)
            reader.raw.read_all_chunks()
