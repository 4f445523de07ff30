"""How alike two pictures are: SSIM and PSNR, and what a reconstruction is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.ciphers.kernels import DOMAIN

WINDOW, SIGMA = 11, 1.5
"""The side of the window of SSIM, and the standard deviation of its Gaussian weights, in pixels."""

K1, K2, PEAK = 0.01, 0.03, 255.0
"""The constants of SSIM, and the largest value of a sample."""

MAX_PSNR = 99.0
"""The PSNR of equal images, in dB, which would be infinite."""

FOUND, ENCRYPTED, MEANS, WRONG = 'reconstruction', 'encrypted', 'block means', 'wrong image'
MARGIN = 0.05
"""A reconstruction shows a picture if its SSIM is above the encrypted and the wrong image by more than this."""


@dataclass(frozen=True)
class Likeness:
    """How like the plain images some pictures are, on average over the images.

    Args:
        of: ``reconstruction``; ``encrypted``, the encrypted images as they are shown; ``block means``, the plain images
            with every block in its mean colour; ``wrong image``, reconstructions beside plain images of others.
        ssim: The structural similarity, -1 to 1.
        psnr: The peak signal-to-noise ratio, in dB.
    """

    of: str
    ssim: float
    psnr: float

    def __str__(self) -> str:
        return f'{self.of} SSIM {self.ssim:.2f}, PSNR {self.psnr:.1f} dB'


def compare(
    found: Sequence[np.ndarray],
    plain: Sequence[np.ndarray],
    encrypted: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    info: CipherInfo,
) -> list[Likeness]:
    """Compare reconstructions with the plain images, beside three baselines.

    Args:
        found: The reconstructions, uint8 (H, W, C).
        plain: The plain images, as many and of the same sizes.
        encrypted: Their encrypted form.
        others: Plain images of other scenes, at least one.
        info: The public facts about the cipher.
    """
    # the images of the attacker lie between the encrypted ones in a video, so the nearest are left out
    beside = [others[(number + len(others) // 2) % len(others)] for number in range(len(found))]
    common = [tuple(np.minimum(one.shape, other.shape)[:2]) for one, other in zip(found, beside, strict=True)]
    cut = [
        [image[:rows, :columns] for image, (rows, columns) in zip(images, common, strict=True)]
        for images in (found, beside)
    ]
    pictures = [shown(image) for image in encrypted]
    means = [block_means(image, info) for image in plain]
    return [
        likeness(FOUND, found, plain),
        likeness(ENCRYPTED, pictures, plain),
        likeness(MEANS, means, plain),
        likeness(WRONG, *cut),
    ]


def likeness(of: str, pictures: Sequence[np.ndarray], plain: Sequence[np.ndarray]) -> Likeness:
    """Return the mean SSIM and PSNR of pictures beside the plain images, uint8 (H, W, C)."""
    pairs = list(zip(pictures, plain, strict=True))
    return Likeness(of, *(round(float(np.mean([measure(*pair) for pair in pairs])), 4) for measure in (ssim, psnr)))


def shown(encrypted: np.ndarray) -> np.ndarray:
    """Return an encrypted image as uint8; samples that a table may have changed are scaled from 0 to 999."""
    return encrypted if encrypted.dtype == np.uint8 else (encrypted * (PEAK / (DOMAIN - 1))).astype(np.uint8)


def block_means(image: np.ndarray, info: CipherInfo) -> np.ndarray:
    """Return an image (H, W, C) of whole blocks, uint8, with every block in its mean colour."""
    m = info.block_size
    cells = image.reshape(len(image) // m, m, -1, m, image.shape[-1])
    means = cells.mean((1, 3)).round().astype(np.uint8)
    return means.repeat(m, 0).repeat(m, 1)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images with samples from 0 to 255, in dB; at most 99.

    Example:
        >>> psnr(np.zeros((2, 2)), np.full((2, 2), 255.0))
        0.0
    """
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return MAX_PSNR if error == 0 else min(float(10 * np.log10(PEAK**2 / error)), MAX_PSNR)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Return the structural similarity of two images (H, W, C) with samples from 0 to 255, averaged over channels.

    Windows of 11 x 11 pixels with Gaussian weights, those inside of the image, and the constants of Wang et al., Image
    quality assessment: from error visibility to structural similarity, IEEE Transactions on Image Processing 13, 2004.

    Raises:
        ValueError: The shapes differ, or a side is shorter than a window.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
        >>> ssim(image, image)
        1.0
    """
    if one.shape != other.shape or min(one.shape[:2]) < WINDOW:
        raise ValueError(
            f'Expected two images of one shape with sides of at least {WINDOW}, but got {one.shape} and {other.shape}. '
            'Give other images.'
        )
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y, both = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2, _blur(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * both + c2) / (var_x + var_y + c2)).mean())


def _blur(image: np.ndarray) -> np.ndarray:
    """Average an image (H, W, C) over every window that lies inside of it."""
    half = WINDOW // 2
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * SIGMA**2))
    blurred = correlate1d(correlate1d(image, weights / weights.sum(), axis=0), weights / weights.sum(), axis=1)
    return blurred[half : len(image) - half, half : image.shape[1] - half]
