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

from mmseg_keyprotect.sealing.age import AgeIdentity, AgeRecipient
from mmseg_keyprotect.sealing.copies import add_recipients, file_info, remove_recipient
from mmseg_keyprotect.sealing.entries import Opener, Recipient
from mmseg_keyprotect.sealing.folders import seal_folder
from mmseg_keyprotect.sealing.licences import Licence, device_id
from mmseg_keyprotect.sealing.named import open_by_environment, opener_for, opener_from, recipient_from
from mmseg_keyprotect.sealing.reading import SealedReader, VerifiedReader
from mmseg_keyprotect.sealing.recipients import KeyRecipient, PassphraseRecipient, PublicRecipient, recipient_of
from mmseg_keyprotect.sealing.sealed_files import (
    is_sealed_file,
    open_sealed,
    seal_file,
    sealed_output,
    sealing_into,
)
from mmseg_keyprotect.sealing.signatures import Signer, publisher_of
from mmseg_keyprotect.sealing.tokens import Token, TokenRecipient
from mmseg_keyprotect.sealing.unsealing import unseal_file
from mmseg_keyprotect.sealing.writing import SealedWriter

__all__ = [
    'AgeIdentity',
    'AgeRecipient',
    'KeyRecipient',
    'Licence',
    'Opener',
    'PassphraseRecipient',
    'PublicRecipient',
    'Recipient',
    'SealedReader',
    'SealedWriter',
    'Signer',
    'Token',
    'TokenRecipient',
    'VerifiedReader',
    'add_recipients',
    'device_id',
    'file_info',
    'is_sealed_file',
    'open_by_environment',
    'open_sealed',
    'opener_for',
    'opener_from',
    'publisher_of',
    'recipient_from',
    'recipient_of',
    'remove_recipient',
    'seal_file',
    'seal_folder',
    'sealed_output',
    'sealing_into',
    'unseal_file',
]
