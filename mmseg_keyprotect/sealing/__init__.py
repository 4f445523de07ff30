"""Sealed files: encrypted in authenticated chunks, for one or many recipients (docs/spec.md, section 9).

This package needs only ``cryptography``. :mod:`mmseg_keyprotect.engine.sealed_checkpoints` connects it to mmengine.

Example:
    >>> from mmseg_keyprotect.keys import SecretKey
    >>> from mmseg_keyprotect.sealing import KeyRecipient, open_sealed, seal_file
    >>> key = SecretKey.generate()
    >>> with open('weights.pth', 'wb') as file:
    ...     _ = file.write(b'weights')
    >>> seal_file('weights.pth', 'weights.sealed', [KeyRecipient(key)])
    >>> with open_sealed('weights.sealed', key) as reader:
    ...     reader.read()
    b'weights'
"""

from mmseg_keyprotect.sealing.copies import add_recipients, file_info, remove_recipient
from mmseg_keyprotect.sealing.folders import seal_folder
from mmseg_keyprotect.sealing.recipients import (
    KeyRecipient,
    PassphraseRecipient,
    PublicRecipient,
    Recipient,
    recipient_of,
)
from mmseg_keyprotect.sealing.sealed_files import (
    is_sealed_file,
    open_sealed,
    seal_file,
    sealed_output,
    sealing_into,
)
from mmseg_keyprotect.sealing.stream import SealedReader, SealedWriter, VerifiedReader
from mmseg_keyprotect.sealing.unsealing import unseal_file

__all__ = [
    'KeyRecipient',
    'PassphraseRecipient',
    'PublicRecipient',
    'Recipient',
    'SealedReader',
    'SealedWriter',
    'VerifiedReader',
    'add_recipients',
    'file_info',
    'is_sealed_file',
    'open_sealed',
    'recipient_of',
    'remove_recipient',
    'seal_file',
    'seal_folder',
    'sealed_output',
    'sealing_into',
    'unseal_file',
]
