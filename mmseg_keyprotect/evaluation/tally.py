"""The pixel counts of all users, saved to disk so that an interrupted evaluation can continue."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce

from mmseg_keyprotect.errors import DamagedFileError, OutputError
from mmseg_keyprotect.files import replace_file

SAVE_EVERY = 10.0
"""Seconds between two saved states."""


class Tally:
    """Sums pixel counts, image after image.

    Args:
        file: The file of the state; it is read if it exists.
        fingerprint: Identifies everything that the counts depend on.
        nonce: Fixes the random keys; a saved state keeps its own.
        shape: The shape of the counts, (users, 3, classes).

    Raises:
        OutputError: The state is that of another evaluation.
        DamagedFileError: The state is damaged.
    """

    def __init__(self, file: Path, fingerprint: str, nonce: bytes, shape: tuple[int, ...]) -> None:
        self.file, self.fingerprint, self.nonce = file, fingerprint, nonce
        self._state = 0, np.zeros(shape)  # one attribute, so that an interruption cannot separate the two
        self._saved = time.monotonic()
        if file.exists():
            self._read()

    @property
    def done(self) -> int:
        """The number of counted images."""
        return self._state[0]

    @property
    def counts(self) -> np.ndarray:
        """The sums, float64 (users, 3, classes)."""
        return self._state[1]

    def _read(self) -> None:
        try:
            state = json.loads(self.file.read_text())
            found, done, nonce = state['fingerprint'], int(state['done']), bytes.fromhex(state['nonce'])
            counts = np.array(state['counts'], dtype=np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(
                f'Expected the state of an interrupted evaluation, but {self.file} is damaged: {type(error).__name__}. '
                'Delete it, or name another folder with -o.'
            ) from None
        if found != self.fingerprint or counts.shape != self.counts.shape:
            raise OutputError(
                f'Expected the state of this evaluation, but got that of another in {self.file}: another '
                'configuration, checkpoint, key, data set, seed, number of keys or number of processes. Name another '
                'folder with -o, or delete the file.'
            )
        self.nonce, self._state = nonce, (done, counts)

    def keep_if(self, nonce: bytes) -> None:
        """Start again from zero unless the counts belong to the wrong keys of ``nonce``."""
        if nonce != self.nonce:
            self.nonce, self._state = nonce, (0, np.zeros_like(self.counts))

    def add(self, counts: np.ndarray) -> None:
        """Add the counts of one image, (users, 3, classes)."""
        self._state = self.done + 1, self.counts + counts
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the state to disk."""
        done, counts = self._state
        state = dict(
            fingerprint=self.fingerprint,
            nonce=self.nonce.hex(),
            done=done,
            counts=counts.tolist(),
        )
        replace_file(self.file, json.dumps(state))
        self._saved = time.monotonic()

    def total(self) -> np.ndarray:
        """Return the sums over all processes, float64 (users, 3, classes)."""
        total = torch.from_numpy(self.counts.copy())
        all_reduce(total)
        return total.numpy()
