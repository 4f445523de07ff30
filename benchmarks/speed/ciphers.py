"""Time to encrypt images, compared with the published implementation, plain numpy code and a copy."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

from benchmarks.speed.peers import Published, naive_numpy
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.ciphers import build_cipher, kernels
from mmseg_keyprotect.keys import SecretKey

SIZES = ((512, 512), (512, 1024), (1024, 2048))
BLOCK_SIZES = (2, 4, 8, 16)
TYPES = {'shuffle': 'Shuffle', 'negative-positive': 'NegativePositive', 'ffx': 'FFX'}
CIPHERS = (['shuffle'], ['negative-positive'], ['ffx'], ['shuffle', 'negative-positive'])


def measure(
    words: list[str], block_size: int, size: tuple[int, int], threads: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Time one cipher on images of one size.

    Args:
        words: Names of ciphers, in order; see ``TYPES``.
        block_size: Block size M, in pixels.
        size: Height and width of the image, in pixels.
        threads: Threads of OpenCV and torch.
        repeats: How often each alternative is timed.

    Returns:
        Times of ``compiled``, ``OpenCV``, ``numpy`` (without either), ``torch``, ``decrypt`` (as ``compiled``),
        ``published``, ``naive`` and ``copy``, as
        :func:`~benchmarks.speed.timing.take_turns` returns them.
    """
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # some of these ciphers are weak
        cfg = [dict(type=TYPES[word], block_size=block_size, allow_weak=True) for word in words]
        cipher, interpreted = (build_cipher(cfg, SecretKey.from_bytes(bytes(32)), 3) for _ in range(2))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    scaled = tensor / 255
    published, naive = Published(words, block_size), naive_numpy(words, block_size)

    encrypted = cipher.encrypt(image)
    with patch.object(kernels, 'library', lambda: None):
        interpreted.encrypt(image)  # a cipher keeps the means that it chose

    def without_opencv() -> None:
        loaded = sys.modules.pop('cv2')
        interpreted.encrypt(image)
        sys.modules['cv2'] = loaded

    alternatives = {
        'compiled': lambda: cipher.encrypt(image),
        'OpenCV': lambda: interpreted.encrypt(image),
        'numpy': without_opencv,
        'torch': lambda: cipher.encrypt(tensor),
        'decrypt': lambda: cipher.decrypt(encrypted),
        'published': lambda: published(scaled),
        'naive': lambda: naive(image),
        'copy': image.copy,
    }
    return take_turns(alternatives, repeats)


def measure_all(thread_counts: list[int], repeats: int) -> Iterator[dict[str, Any]]:
    """Time every cipher for every block size, image size and number of threads."""
    for threads in thread_counts:
        for size in SIZES:
            for block_size in BLOCK_SIZES:
                for words in CIPHERS:
                    times = measure(words, block_size, size, threads, repeats)
                    yield dict(cipher='+'.join(words), block_size=block_size, size=size, threads=threads, times=times)
