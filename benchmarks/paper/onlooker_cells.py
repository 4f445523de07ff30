"""Cells on pictures: what an onlooker sees of encrypted images, and what attacks without the model show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.paper.cells import Cell, key_file
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.estimators.table_estimate import read_table
from mmseg_keyprotect.audit.picture_quality import likeness, shown
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.cli.cipher_options import cipher_words
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.session.images import spaced

FOLDER = Path('data/camvid/images')
SIZE = (256, 192)
"""Width and height, in pixels; 32 divides both."""

SEEN, PLAIN, STEPS, SECONDS = 16, 64, 300, 600.0
"""Numbers of encrypted images and of the attacker's own, training steps, and the time limit of each attack."""

COUNTS = (1, 4, 16, 64)
"""Numbers of encrypted images that ``pictures-alone`` gets, until it has the whole key."""

DRAWN = 0, 10
"""The encrypted images that the figure shows."""


@dataclass(frozen=True)
class Onlooker(Cell):
    """How like the plain images encrypted ones are, and what two attacks make of them, on CamVid.

    Args:
        cipher: The words of the cipher.
        block_size: M, in pixels.
    """

    cipher: tuple[str, ...] = ()
    block_size: int = 4

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'onlooker_{"-".join(self.cipher)}-b{self.block_size}_{super().name}'

    @property
    def picture(self) -> Path:
        """Path of the pictures: plain, encrypted, reconstructed, and decrypted by an estimate of the key."""
        return self.work / 'pictures.png'

    def measure(self) -> dict[str, Any]:
        """Encrypt images of the validation set, and attack them with images of the training set."""
        types = cipher_words()
        cfg = [dict(type=types[word], block_size=self.block_size, allow_weak=True) for word in self.cipher]
        cipher = build_cipher(cfg, key=SecretKey.load(key_file(self.seed)))
        target = Target(cipher, AttackerData(images('val', SEEN), images('train', PLAIN)))
        budget = Budget(SECONDS, steps=STEPS)
        result = ATTACKS['reconstruction']().attack(target, budget)
        pictures = target.pictures(result)
        seconds = round(budget.spent, 1)
        for count in COUNTS:
            few = Target(cipher, AttackerData(images('val', count), target.data.plain))
            budget = Budget(SECONDS)
            found = ATTACKS['pictures-alone']().attack(few, budget)
            shares = few.shares(found)
            if all(share.right == 1 for share in shares):
                break
        assert found.key is not None, 'the attack always estimates a key'
        decrypted = [decrypt(image, found.key, target.cipher_info) for image in target.encrypted]
        pictures.append(likeness('pictures-alone', decrypted, target.data.seen))
        assert result.pictures is not None, 'the attack always makes pictures'
        rows = zip(target.data.seen, map(shown, target.encrypted), result.pictures, decrypted, strict=True)
        drawn = [np.concatenate(row, 1) for number, row in enumerate(rows) if number in DRAWN]
        Image.fromarray(np.concatenate(drawn)).save(self.picture)
        return dict(
            cipher=cipher.name,
            pictures=[asdict(one) for one in pictures],
            seconds=seconds,
            encrypted=count,
            shares=[asdict(share) for share in shares],
            key_seconds=round(budget.spent, 1),
        )


def images(split: str, count: int) -> list[np.ndarray]:
    """Return evenly spaced images of a split of CamVid, RGB uint8 (192, 256, 3)."""
    files = np.array(sorted((FOLDER / split).iterdir()))
    return [np.asarray(Image.open(file).convert('RGB').resize(SIZE)) for file in spaced(files, count)]


def decrypt(image: np.ndarray, key: BlockTransform, info: CipherInfo) -> np.ndarray:
    """Decrypt an image (H, W, C) with an estimate of the key: uint8 of the same shape."""
    grid = info.grid(image).astype(np.float64)
    if key.table is not None:
        grid = read_table(grid, key.keyed, key.table)
    plain = np.empty(grid.shape, dtype=np.uint8)
    plain[..., key.source] = np.where(key.mask > 0, 255 - grid, grid)
    return info.image(plain)
