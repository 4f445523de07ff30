"""Planted weak cases: a cipher, and an attacker's drawn images."""

from functools import cache

import numpy as np

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.demo.drawing import draw_scene
from mmseg_keyprotect.keys import SecretKey

TYPES = dict(shuffle='Shuffle', ffx='FFX', **{'negative-positive': 'NegativePositive'})
SIZE = (192, 240)
COUNT = 64


@cache
def pictures():
    """Draw scenes of many moods, RGB; the same ones on every machine."""
    return [draw_scene(np.random.default_rng(index), SIZE)[0] for index in range(COUNT)]


def cipher_of(word, block_size=4, seed=42, first=0):
    """Build a cipher; see `planted`."""
    if word.startswith('reference'):
        cfg = dict(type='ReferenceCipher', transform=word.partition('-')[2], block_size=block_size, seed=seed)
    else:
        cfg = [dict(type=TYPES[part], block_size=block_size, allow_weak=True) for part in word.split('+')]
    return build_cipher(cfg, key=SecretKey.from_bytes(bytes(range(first, first + 32))))


def planted(word, block_size=4, seed=42, first=0, images=None):
    """Make a target: ``word`` as in specifications, or as ``reference-SHF``; ``first`` is the key's first byte."""
    images = images or pictures()
    half = len(images) // 2
    return Target(cipher_of(word, block_size, seed, first), AttackerData(images[:half], images[half:]))


def attack(name, target, seconds=20.0):
    """Run an attack through its view; return what it found, and the share of each part of the key."""
    result = ATTACKS[name]().attack(target, Budget(seconds))
    return result, {share.part: share for share in target.shares(result)}


def whole(shares):
    """Whether each part of the key was found."""
    return bool(shares) and all(share.right == 1 for share in shares.values())
