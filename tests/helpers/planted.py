"""Planted weak cases: a cipher, and an attacker's images, real ones where they are there."""

from functools import cache

import numpy as np
from PIL import Image

from helpers import DATA
from mmseg_keyprotect.audit.attack import Budget
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.target import Loot, Target
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.demo.drawing import draw_scene
from mmseg_keyprotect.keys import SecretKey

TYPES = dict(shuffle='Shuffle', ffx='FFX', **{'negative-positive': 'NegativePositive'})
SIZE = (192, 240)


@cache
def pictures(count=16):
    """RGB images: every so many of CamVid's training images, or drawn scenes."""
    folder = DATA / 'camvid' / 'images' / 'train'
    if folder.exists():
        files = sorted(folder.iterdir())
        chosen = [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]
        return [np.asarray(Image.open(file).convert('RGB').resize(SIZE[::-1])) for file in chosen]
    return [draw_scene(np.random.default_rng(index), SIZE)[0] for index in range(4 * count)]  # of many moods


def planted(word, block_size=4, seed=42, first=0):
    """Make a target: ``word`` as in specifications, or as ``reference-SHF``; ``first`` is the key's first byte."""
    if word.startswith('reference'):
        cfg = dict(type='ReferenceCipher', transform=word.partition('-')[2], block_size=block_size, seed=seed)
    else:
        cfg = [dict(type=TYPES[part], block_size=block_size, allow_weak=True) for part in word.split('+')]
    cipher = build_cipher(cfg, key=SecretKey.from_bytes(bytes(range(first, first + 32))))
    images = pictures()
    half = len(images) // 2
    return Target(cipher, Loot(images[:half], images[half:]))


def attack(name, target, seconds=20.0):
    """Run an attack; return what it found, and the share of each part of the key."""
    result = ATTACKS[name]().run(target, Budget(seconds))
    return result, {share.part: share for share in target.shares(result)}


def whole(shares):
    """Whether each part of the key was found."""
    return bool(shares) and all(share.right == 1 for share in shares.values())
