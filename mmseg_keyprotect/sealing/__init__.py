"""Sealed files: encrypted in authenticated chunks, for one or many recipients (docs/spec.md, section 9).

Needs ``cryptography`` and nothing else; mmengine meets it in :mod:`mmseg_keyprotect.engine.sealed_checkpoints`.
"""

from mmseg_keyprotect.sealing.recipients import KeyRecipient, PassphraseRecipient, PublicRecipient, recipient_of
from mmseg_keyprotect.sealing.sealed_files import (
    add_recipients,
    file_info,
    open_sealed,
    remove_recipient,
    seal_file,
    unseal_file,
)
from mmseg_keyprotect.sealing.stream import SealedReader, SealedWriter

__all__ = [
    'KeyRecipient',
    'PassphraseRecipient',
    'PublicRecipient',
    'SealedReader',
    'SealedWriter',
    'add_recipients',
    'file_info',
    'open_sealed',
    'recipient_of',
    'remove_recipient',
    'seal_file',
    'unseal_file',
]
