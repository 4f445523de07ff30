"""A recipient's copy of a model: marked, then bound and sealed as wanted, with a record for the owner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import hash_file, make_folder, new_file
from mmseg_keyprotect.keys import build_key
from mmseg_keyprotect.ownership.fingerprint import DEFAULT_STRENGTH, check_recipient, check_strength, mark_weights
from mmseg_keyprotect.ownership.record import CopyRecord, new_salt, now, record_path
from mmseg_keyprotect.ownership.trace import read_original
from mmseg_keyprotect.ownership.weights import hash_weights
from mmseg_keyprotect.protection import protect_checkpoint


def protect_copy(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    recipient: str,
    records: str | Path,
    owner_key: Any = None,
    strength: float = DEFAULT_STRENGTH,
    **protection: Any,
) -> tuple[Path, Path, Path]:
    """Write the protected checkpoint of one recipient, with a mark in its weights, and the record of it.

    Args:
        config: The unprotected configuration file, or ``mmseg::NAME`` for one of MMSegmentation's own.
        checkpoint: A plain checkpoint of that configuration: the original.
        folder: The folder to make.
        recipient: Who gets the copy: letters of A-Z and a-z, digits and ``._@+-``. It is written to the record alone.
        records: The folder of the records; it is made if it does not exist.
        owner_key: The configuration of the key from which the mark is derived. By default KEYPROTECT_KEY_FILE names
            the key file.
        strength: Of the mark, in standard deviations of a tensor, 0.0001 to 0.1.
        **protection: ``cipher``, ``key``, ``border``, ``seal`` and ``features`` of
            :func:`~mmseg_keyprotect.protection.protect_checkpoint`. With ``cipher=None`` and no ``features`` the copy
            is marked and bound to no key.

    Returns:
        The paths of the configuration, of the checkpoint and of the record.

    Raises:
        ConfigError: The recipient has a copy of this original already, or the name or the strength is not permitted.
        KeyProtectError: What :func:`~mmseg_keyprotect.protection.protect_checkpoint` raises.

    Example:
        >>> protect_copy('my_config.py', 'my_model.pth', 'for_acme', 'acme', 'records')[2]  # doctest: +SKIP
        PosixPath('records/acme.5f3c0a1b2d4e.json')
    """
    check_recipient(recipient)
    check_strength(strength)
    owner, original = build_key(owner_key), hash_weights(read_original(checkpoint, protection.get('key')))
    make_folder(Path(records))
    path = record_path(records, recipient, original)
    if path.exists():
        raise ConfigError(
            f'Expected a new recipient, but {path} is the record of a copy for {recipient}. Name another recipient, '
            'such as one with a number behind.'
        )
    copies: list[str] = []

    def mark(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        marked = mark_weights(state, owner, recipient, strength)
        copies.append(hash_weights(marked))
        return marked

    with new_file(path) as temporary:
        written, saved = protect_checkpoint(config, checkpoint, folder, mark=mark, **protection)
        record = CopyRecord(recipient, owner.key_id, strength, original, copies[0], hash_file(saved), now(), new_salt())
        temporary.write_text(record.to_json() + '\n', encoding='utf-8')
    return written, saved, path
