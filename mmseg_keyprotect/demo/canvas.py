"""The canvas of a drawn scene: an image with its label map, soft shapes, noise, and a road in perspective."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[Any]
"""A float array that broadcasts to (H, W), one value for each pixel, or to (H, W, 3), one colour for each pixel."""

Depth = TypeVar('Depth', float, Field)
"""A depth, or the depth of every pixel: 0 at the horizon, 1 at the lower edge of the image."""


def _noise(rng: np.random.Generator, size: tuple[int, int], period: int) -> Field:
    """Return smooth noise with blobs about ``period`` pixels wide: float32 (H, W, 1), mean 0, standard deviation 1."""
    field = rng.standard_normal((size[0] // period + 2, size[1] // period + 2), dtype=np.float32)
    for length in size:  # interpolates between rows; each pass transposes, so the second one does the columns
        place = np.arange(length, dtype=np.float32) / period
        low = place.astype(int)
        share = (place - low)[:, None]
        field = ((1 - share) * field[low] + share * field[low + 1]).T
    return ((field - field.mean()) / field.std())[..., None]


class Scene:
    """An image and its label map, painted from back to front.

    A shape is a field of signed distances in pixels, float32 (H, W), negative inside. It gives the image soft edges
    and the label map hard ones. Depth is 0 at the horizon and 1 at the lower edge of the image.

    Args:
        rng: The source of every random choice.
        size: (height, width) in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.size = self.height, self.width = size
        self.y = np.arange(size[0], dtype=np.float32)[:, None]
        self.x = np.arange(size[1], dtype=np.float32)
        self.unit = min(size) / 160
        self.image = np.zeros((*size, 3), np.float32)
        self.label = np.zeros(size, np.uint8)
        self.horizon = self.height * rng.uniform(0.3, 0.5)
        self.far, self.near, self.spread = self.width * rng.uniform((0.34, 0.38, 0.19), (0.66, 0.62, 0.25))

    def paint(self, shape: Field, colour: Field, label: int | None = None, opacity: float = 1.0) -> None:
        """Paint a shape with a colour, 0 to 255, and give its pixels a label."""
        rows = np.flatnonzero((shape < 0.5).any(axis=1))
        if rows.size:
            part = slice(rows[0], rows[-1] + 1)
            cover = np.clip(0.5 - shape[part], 0, 1)[..., None]
            colour = np.broadcast_to(np.asarray(colour, np.float32), self.image.shape)[part]
            self.image[part] += opacity * cover * (colour - self.image[part])
        if label is not None:
            self.label[shape < 0] = label

    def shade(self, x: float, y: float, half_width: float) -> None:
        """Darken what is painted already by a soft flat shadow around (x, y)."""
        reach = self.reach(x, y, half_width, 0.22 * half_width)
        self.image *= 1 - 0.35 * np.clip(1.5 - reach, 0, 1)[..., None]

    def box(self, x: float, y: float, half_width: float, half_height: float, radius: float = 0.0) -> Field:
        """Return the shape of an upright box around (x, y) with round corners."""
        across, down = np.abs(self.x - x) - half_width + radius, np.abs(self.y - y) - half_height + radius
        return np.sqrt(across.clip(0) ** 2 + down.clip(0) ** 2) + np.maximum(across, down).clip(max=0) - radius

    def reach(self, x: float, y: float, half_width: float, half_height: float) -> Field:
        """Return the distance from the centre of an upright ellipse, as a multiple of its radius."""
        return np.sqrt(np.square((self.x - x) / half_width) + np.square((self.y - y) / half_height))

    def oval(self, x: float, y: float, half_width: float, half_height: float) -> Field:
        """Return the shape of an upright ellipse around (x, y)."""
        return (self.reach(x, y, half_width, half_height) - 1) * min(half_width, half_height)

    def noise(self, period: int) -> Field:
        """Return smooth noise with blobs about ``period`` pixels wide, of mean 0 and standard deviation 1."""
        return _noise(self.rng, self.size, period)

    def foot(self, depth: float) -> float:
        """Return the y coordinate of the ground at a depth."""
        return self.horizon + depth * (self.height - self.horizon)

    def road(self, depth: Depth) -> tuple[Depth, Depth]:
        """Return the x coordinate of the road's centre at a depth, and half the road's width."""
        return self.far + (self.near - self.far) * depth, 0.012 * self.width + self.spread * depth
