"""What the structure of a lifted stem reveals without a public model to compare with.

A tap (u, v) of the plain kernel occurs in several columns of the block stem, at known positions. Columns of one channel
that share taps are copies of each other, up to sign. This ties the columns of a class of pixels together. The channels
and the signs of the classes remain unknown; they are few enough to be tried.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mmseg_keyprotect.models.stem.lifting import Grid

CHANNELS = 3
STATES = [(order, signs) for order in permutations(range(CHANNELS)) for signs in product((1, -1), repeat=CHANNELS)]
"""The states of a class: the channel of each group of columns, and its sign."""


def pixel_patterns(grid: Grid) -> np.ndarray:
    """Return where a column of each pixel can have energy, unit vectors (M * M, (M/s)**2 * K * K)."""
    reach = grid.rows().any(1).double()  # (M/s, K, M)
    both = torch.einsum('akm,bln->mnabkl', reach, reach).flatten(2).flatten(0, 1)
    return (both / both.norm(dim=1, keepdim=True)).numpy()


def find_pixels(energies: np.ndarray, grid: Grid) -> np.ndarray:
    """Assign columns to pixels by their zeros, three to each pixel: int64 (n,), row * M + column."""
    patterns = np.repeat(pixel_patterns(grid), CHANNELS, axis=0)
    return linear_sum_assignment(energies @ patterns.T, maximize=True)[1] // CHANNELS


class StemStructure:
    """Ties the columns of a stem together where they share taps.

    Args:
        columns: float64 (O * (M/s)**2, n, K, K).
        pixels: int64 (n,), the pixel of each column.
        grid: The grid of the stem.

    Attributes:
        classes: int64 (n,), the class of each column; columns of a class share taps, directly or indirectly.
        groups: int64 (n,), the group of each column in its class, 0 to 2; a group has one channel.
        signs: int64 (n,), the sign of each column in its group, 1 or -1.
    """

    def __init__(self, columns: Tensor, pixels: np.ndarray, grid: Grid) -> None:
        self._rows, m = grid.rows().double(), grid.block_size
        parts = columns.reshape(-1, grid.ratio, grid.ratio, *columns.shape[1:])
        taps, masks = [], []
        for k, pixel in enumerate(pixels):
            row, column = self._rows[..., pixel // m], self._rows[..., pixel % m]
            mask = torch.einsum('auk,bvl->uv', row, column)
            taps.append(torch.einsum('oabkl,auk,bvl->ouv', parts[:, :, :, k], row, column) / mask.clamp_min(1))
            masks.append(mask > 0)
        self._taps, self._masks = torch.stack(taps), torch.stack(masks)
        shared = torch.einsum('kuv,luv->kl', self._masks.double(), self._masks.double()).numpy()
        self.classes = connected_components(shared > 0)[1]
        self.pixels = pixels
        self.groups, self.signs = self._tie()

    def _tie(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``groups`` and ``signs``."""
        groups, signs = np.zeros(len(self.pixels), dtype=int), np.ones(len(self.pixels), dtype=int)
        for number in np.unique(self.classes):
            members = np.flatnonzero(self.classes == number)
            sums = None
            for pixel in dict.fromkeys(self.pixels[members]):
                mine = members[self.pixels[members] == pixel]
                if sums is None:
                    groups[mine] = np.arange(CHANNELS)
                else:
                    alike = torch.einsum(
                        'kouv,gouv,kuv->kg', self._taps[mine], sums, self._masks[mine].double()
                    ).numpy()
                    groups[mine] = linear_sum_assignment(abs(alike), maximize=True)[1]
                    signs[mine] = np.where(alike[np.arange(CHANNELS), groups[mine]] < 0, -1, 1)
                order = mine[np.argsort(groups[mine])]
                part = self._taps[order] * torch.from_numpy(signs[order])[:, None, None, None]
                sums = part if sums is None else sums + part
        return groups, signs

    def parts(self) -> np.ndarray:
        """Return the filters of each group of each class, float64 (classes, 3, O, k, k), 0 at taps of other classes."""
        count = self.classes.max() + 1
        total = torch.zeros(count, CHANNELS, *self._taps.shape[1:], dtype=torch.float64)
        weight = torch.zeros(count, CHANNELS, 1, *self._taps.shape[2:], dtype=torch.float64)
        for k, sign in enumerate(self.signs):
            total[self.classes[k], self.groups[k]] += sign * self._taps[k]
            weight[self.classes[k], self.groups[k]] += self._masks[k]
        return (total / weight.clamp_min(1)).numpy()

    def guesses(self) -> list[tuple]:
        """Return first guesses, each with a state for every class.

        Learned filters are similar in all colours, which tells the signs of the groups of a class relative to each
        other. The signs of the classes remain, and all of them are returned.
        """
        parts = self.parts()
        signs = np.where(np.einsum('cgouv,couv->cg', parts, parts[:, 0]) < 0, -1, 1)
        return [
            tuple(((0, 1, 2), tuple(int(sign) for sign in way * row)) for way, row in zip(ways, signs, strict=True))
            for ways in product((1, -1), repeat=len(parts))
        ]

    def resolve(self, states: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
        """Return the channel and the sign of each column, int64 (n,) both, given the state of each class."""
        channels = np.array([states[c][0][g] for c, g in zip(self.classes, self.groups, strict=True)])
        signs = np.array([states[c][1][g] for c, g in zip(self.classes, self.groups, strict=True)])
        return channels, signs * self.signs
