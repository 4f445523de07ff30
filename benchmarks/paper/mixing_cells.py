"""Cells on dense linear keys at feature maps, which the product does not have: what least squares leave of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper.cells import Cell, Training, find_config
from mmseg_keyprotect.protection.checkpoints import read_checkpoint

READERS = {
    stage: [
        f'backbone.layer{stage + 2}.0.conv.0.conv.weight',
        *['decode_head.c1_bottleneck.conv.weight'] * (stage == 1),
    ]
    for stage in range(6)
}
"""The convolutions that read the output of each stage of DeepLabV3+ on MobileNetV2; the first has public weights."""


@dataclass(frozen=True)
class Mixing(Cell):
    """A fine-tuned model whose stage outputs a dense orthogonal key mixes, beside its public pretrained weights.

    The key K multiplies the channels of a stage's output at run time, and each convolution W that reads them is stored
    as W times the inverse of K. The attacker has the stored weights, and the public ones from before the fine-tuning.

    Args:
        weights: Checkpoint of the public pretrained backbone.
    """

    weights: str = ''

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'mixing_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Recover the keys of all stages, and test the model without them, and with the recovered ones."""
        found = self.recover()
        plain = Training(self.config, self.seed).checkpoint()
        files = dict(plain=plain, mixed=self.work / 'mixed.pth', recovered=self.work / 'recovered.pth')
        scores = {word: self.tested(find_config(self.config), file, word) for word, file in files.items()}
        return dict(stages=found, **scores)

    def recover(self) -> list[dict[str, Any]]:
        """Write the weights as stored and as the attacker restores them; return the errors, relative, per stage."""
        state = read_checkpoint(Training(self.config, self.seed).checkpoint())[0]
        public = read_checkpoint(self.weights)[0]
        mixed, recovered, found = dict(state), dict(state), []
        rng = np.random.default_rng(self.seed)
        for stage, names in READERS.items():
            own, known = _matrix(state[names[0]]), _matrix(public[names[0].removeprefix('backbone.')])
            key = np.linalg.qr(rng.normal(size=(own.shape[1], own.shape[1])))[0]
            estimate = orthogonal_mixing(own @ key.T, known)
            for name in names:
                stored = _matrix(state[name]) @ key.T
                mixed[name] = _like(state[name], stored)
                recovered[name] = _like(state[name], stored @ estimate)
            noise = rng.normal(size=known.shape)
            found.append(
                dict(
                    stage=stage,
                    channels=len(key),
                    moved=_error(own, known),
                    orthogonal=_error(estimate, key),
                    linear=_error(linear_mixing(own @ key.T, known), key),
                    control=_error(orthogonal_mixing(own @ key.T, noise), key),
                )
            )
        for word, weights in (('mixed', mixed), ('recovered', recovered)):
            torch.save(dict(state_dict=weights), self.work / f'{word}.pth')
        return found


def linear_mixing(stored: np.ndarray, public: np.ndarray) -> np.ndarray:
    """Return the matrix K, float64 (C, C), for which ``stored @ K`` is nearest to ``public`` by least squares.

    Args:
        stored: Weights of the layers that read C mixed channels, (rows, C), with at least C rows.
        public: The same weights of the public model.
    """
    return np.linalg.lstsq(stored, public, rcond=None)[0]


def orthogonal_mixing(stored: np.ndarray, public: np.ndarray) -> np.ndarray:
    """Return the same for an orthogonal K (Schönemann, A generalized solution of the orthogonal Procrustes problem)."""
    left, _, right = np.linalg.svd(stored.T @ public)
    return left @ right


def _matrix(weight: Tensor) -> np.ndarray:
    """Return a convolution of 1 x 1 as float64 (out, in)."""
    return weight.double().flatten(1).numpy()


def _like(weight: Tensor, matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(matrix).to(weight).view_as(weight)


def _error(estimate: np.ndarray, correct: np.ndarray) -> float:
    """Return the size of an error, relative to the correct matrix."""
    return round(float(np.linalg.norm(estimate - correct) / np.linalg.norm(correct)), 4)
