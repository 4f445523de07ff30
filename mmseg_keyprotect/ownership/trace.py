"""Tells whether a suspect derives from an original, and whose copy it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey, build_key
from mmseg_keyprotect.ownership.comparison import Compared, compare
from mmseg_keyprotect.ownership.fingerprint import mark_signs
from mmseg_keyprotect.ownership.onnx_weights import SUFFIX, read_onnx_weights
from mmseg_keyprotect.ownership.record import CopyRecord, read_records
from mmseg_keyprotect.ownership.weights import hash_weights, marked_tensors
from mmseg_keyprotect.protection.checkpoints import is_bound, read_checkpoint

TRACED = 1e-9
"""The chance of a hit, times the recipients tried, below which a copy counts as traced."""

LEAST_CHANCE = 1e-30
"""The least chance that is stated."""

DERIVED = 0.5
"""The share of tensors that must be aligned for a suspect to derive from the original."""

LEAST_OWN = 3
"""The number of tensors that the ancestor lacks, at least, for a suspect to derive from the original."""


@dataclass(frozen=True)
class RecipientScore:
    """How far a suspect carries the mark of one recipient.

    Args:
        recipient: The name in the record.
        z: The score. For everybody but the recipient it exceeds x with a chance of at most ``exp(-x**2 / 2)``.
        chance: The bound on a chance hit, times the number of recipients tried, 1e-30 to 1. Smaller bounds would say
            more than the cipher that makes the signs.
    """

    recipient: str
    z: float
    chance: float

    @property
    def traced(self) -> bool:
        """Whether the chance is below 1e-9."""
        return self.chance < TRACED


@dataclass(frozen=True)
class Trace:
    """What a suspect reveals.

    Args:
        tensors: The tensors of the original that carry a mark.
        compared: How many of them have a counterpart in the suspect.
        aligned: How many of these are more like the original than chance makes them.
        own: How many of the compared tensors the ancestor does not have; None without an ancestor.
        own_aligned: How many of these are aligned.
        scores: Of every recipient, the highest first.
    """

    tensors: int
    compared: int
    aligned: int
    own: int | None
    own_aligned: int
    scores: list[RecipientScore]

    @property
    def traced(self) -> list[str]:
        """The recipients whose mark was found: several where copies were combined."""
        return [score.recipient for score in self.scores if score.traced]

    @property
    def verdict(self) -> str:
        """``traced``, ``derived``, ``near`` or ``cannot tell``.

        ``near`` says that the suspect derives from the original or that both derive from the same public weights.
        """
        if self.traced:
            return 'traced'
        if self.own is None:
            return 'near' if self.aligned >= DERIVED * self.compared else 'cannot tell'
        return 'derived' if self.own >= LEAST_OWN and self.own_aligned >= DERIVED * self.own else 'cannot tell'

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        if self.traced:
            several = ' Their copies were combined.' if len(self.traced) > 1 else ''
            chance = max(score.chance for score in self.scores if score.traced)
            who = ' and '.join(self.traced)
            return f'It carries the mark of {who}; chance of an error: at most {chance:.0e}.{several}'
        if self.verdict == 'derived':
            return (
                f'It derives from the original: {self.own_aligned} of the {self.own} tensors that the ancestor does '
                'not have are like those of the original. It carries no mark that is on record.'
            )
        if self.verdict == 'near':
            return (
                f'It is near the original: {self.aligned} of {self.compared} tensors are alike. It derives from the '
                'original, or both derive from the same public weights: name those with --ancestor. It carries no '
                'mark that is on record.'
            )
        return (
            'Cannot tell: it carries no mark that is on record, and too few of its own tensors are like those of the '
            'original. It is another model, or one that was trained on the answers of yours.'
        )


def trace_suspect(
    suspect: str | Path,
    original: str | Path,
    records: str | Path,
    key: Any = None,
    ancestor: str | Path | None = None,
) -> Trace:
    """Trace a checkpoint that was found.

    Args:
        suspect: The checkpoint, or an ONNX file whose name ends in ``.onnx``: plain, bound to any key, or sealed. What
            opens a sealed file is the key of KEYPROTECT_SEAL_KEY_FILE, or else ``key``.
        original: The checkpoint of the plain model that copies were made from.
        records: The folder of the records of copies.
        key: The configuration of the owner's key. By default KEYPROTECT_KEY_FILE names the key file.
        ancestor: The public weights that the original was fine-tuned from. By default none.

    Raises:
        MissingFileError: A file, or the folder of records, does not exist.
        CheckpointError: A file cannot be read, or the suspect is of another architecture.
        AlreadyEncryptedError: The original is protected.
        ConfigError: All records are of another original, or a recipient is listed twice.
        DamagedFileError: A record is damaged.
        WrongKeyError: The records belong to another key.
        KeyFileError: The key cannot be loaded.

    Example:
        >>> trace_suspect('suspect.pth', 'my_model.pth', 'records').verdict  # doctest: +SKIP
        'traced'
    """
    owner = build_key(key)
    plain = read_original(original, key)
    known = _of_key(of_original(read_records(records), plain), owner)
    public = None if ancestor is None else read_checkpoint(ancestor, key)[0]
    weights = read_onnx_weights(suspect, key) if Path(suspect).suffix == SUFFIX else read_checkpoint(suspect, key)[0]
    found = compare(weights, plain, public)
    return traced(found, owner, [record.recipient for record in known], len(marked_tensors(plain)), public is not None)


def read_original(path: str | Path, key: Any = None) -> dict[str, Tensor]:
    """Read the plain weights that copies are made from.

    Args:
        path: The checkpoint.
        key: The configuration of the key that opens it, where it is sealed.

    Raises:
        AlreadyEncryptedError: They are protected.
        MissingFileError: There is no such file.
        CheckpointError: The file cannot be read.
    """
    state, meta = read_checkpoint(path, key)
    if is_bound(state, meta):
        raise AlreadyEncryptedError(
            f'Expected the plain original, but {path} is bound to a key. Give the checkpoint that it was made from.'
        )
    return state


def of_original(records: Sequence[CopyRecord], original: Mapping[str, Tensor]) -> list[CopyRecord]:
    """Return the records of the copies of one original.

    Raises:
        ConfigError: All are of another original.
    """
    digest = hash_weights(original)
    found = [record for record in records if record.original == digest]
    if not found:
        raise ConfigError(
            f'Expected records of copies of this original, whose hash begins with {digest[:12]}, but got those of '
            f'{", ".join(sorted({record.original[:12] for record in records}))}. Give the original or the records '
            'that belong together.'
        )
    return found


def _of_key(found: Sequence[CopyRecord], key: SecretKey) -> list[CopyRecord]:
    """Return the records that belong to a key.

    Raises:
        WrongKeyError: All belong to another.
    """
    own = [record for record in found if record.key_id == key.key_id]
    if not own:
        raise WrongKeyError(
            f'Expected the key {found[0].key_id}, from which the marks on record are derived, but got {key.key_id}. '
            "Give the owner's key with --key-file."
        )
    return own


def traced(
    compared: Sequence[Compared], key: SecretKey, recipients: Sequence[str], tensors: int, with_ancestor: bool = False
) -> Trace:
    """Score every recipient against the deviations of a suspect.

    Args:
        compared: The deviations.
        key: The owner's key.
        recipients: Those to try.
        tensors: The number of tensors of the original that carry a mark.
        with_ancestor: Whether an ancestor was named.
    """
    scores = [_score(compared, key, recipient, len(recipients)) for recipient in recipients]
    own = [one for one in compared if not one.inherited]
    return Trace(
        tensors,
        len(compared),
        sum(one.aligned for one in compared),
        len(own) if with_ancestor else None,
        sum(one.aligned for one in own),
        sorted(scores, key=lambda score: -score.z),
    )


def score_of(compared: Sequence[Compared], key: SecretKey, recipient: str) -> float:
    """Return z, the score of one recipient: the sum of signed deviations over the root of the sum of their squares."""
    total = squares = 0.0
    for one in compared:
        bits = mark_signs(key, recipient, one.name, one.shape)
        total += float(one.weighed.sum(dtype=np.float64) - 2 * (one.weighed @ bits.astype(np.float32)))
        squares += float(one.weighed @ one.weighed)
    return total / math.sqrt(squares) if squares else 0.0


def _score(compared: Sequence[Compared], key: SecretKey, recipient: str, tried: int) -> RecipientScore:
    z = score_of(compared, key, recipient)
    chance = tried * math.exp(-(max(z, 0.0) ** 2) / 2)
    return RecipientScore(recipient, z, min(1.0, max(chance, LEAST_CHANCE)))
