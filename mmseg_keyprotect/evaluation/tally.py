"""Pixel counts of everybody who is evaluated, kept on disk so that an interrupted evaluation goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import replace_file

SAVE_EVERY = 10.0
"""Seconds between two states on disk."""


class Tally:
    """The sums of the pixel counts, image after image.

    Args:
        file: Where the state is kept; read if it is there.
        fingerprint: Of all that the counts depend on.
        nonce: Of the wrong keys; that of the state is taken where there is one.
        shape: Of the counts: (users, 3, classes).

    Raises:
        ConfigError: There is a state of another evaluation, or a damaged one.
    """

    def __init__(self, file: Path, fingerprint: str, nonce: bytes, shape: tuple[int, ...]) -> None:
        self.file, self.fingerprint, self.nonce = file, fingerprint, nonce
        self._state = 0, np.zeros(shape)  # one attribute, so that an interruption never parts the two
        self._saved = time.monotonic()
        if file.exists():
            self._read()

    @property
    def done(self) -> int:
        """How many images are counted."""
        return self._state[0]

    @property
    def counts(self) -> np.ndarray:
        """The sums, (users, 3, classes)."""
        return self._state[1]

    def _read(self) -> None:
        try:
            state = json.loads(self.file.read_text())
            found, done, nonce = state['fingerprint'], int(state['done']), bytes.fromhex(state['nonce'])
            counts = np.array(state['counts'], dtype=np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'Expected the state of an interrupted evaluation, but {self.file} is damaged: {type(error).__name__}. '
                'Delete it, or name another folder with -o.'
            ) from None
        if found != self.fingerprint or counts.shape != self.counts.shape:
            raise ConfigError(
                f'Expected the state of this evaluation, but {self.file} is that of another: another configuration, '
                'checkpoint, key, data set, number of keys or of processes. Name another folder with -o, or delete it.'
            )
        self.nonce, self._state = nonce, (done, counts)

    def keep_if(self, nonce: bytes) -> None:
        """Begin anew unless the counts are those of the wrong keys of ``nonce``."""
        if nonce != self.nonce:
            self.nonce, self._state = nonce, (0, np.zeros_like(self.counts))

    def add(self, counts: np.ndarray) -> None:
        """Add one image: (users, 3, classes)."""
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
        """Return the sums over all processes."""
        total = torch.from_numpy(self.counts.copy())
        all_reduce(total)
        return total.numpy()
