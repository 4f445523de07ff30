"""Ciphers from their configuration, the weak ones refused (docs/spec.md, section 4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.ffx import FFX
from mmseg_keyprotect.ciphers.negative_positive import NegativePositive
from mmseg_keyprotect.ciphers.reference import ReferenceCipher
from mmseg_keyprotect.ciphers.sequence import Sequence
from mmseg_keyprotect.ciphers.shuffle import Shuffle
from mmseg_keyprotect.errors import ConfigError, WeakCipherError
from mmseg_keyprotect.keys import SecretKey

CIPHERS: dict[str, type[BlockCipher]] = {
    'Shuffle': Shuffle,
    'NegativePositive': NegativePositive,
    'FFX': FFX,
    'Sequence': Sequence,
    'ReferenceCipher': ReferenceCipher,
}

DEFAULT_CIPHER = (dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4))
"""Shuffle, then negative-positive, M = 4: 248 bits for RGB."""

MIN_KEY_BITS = 80.0
"""A cipher with fewer keys is weak."""

CipherConfig = Mapping[str, Any] | list[Mapping[str, Any]] | tuple[Mapping[str, Any], ...]


def build_cipher(cfg: CipherConfig, key: SecretKey | None = None, channels: int = 3) -> BlockCipher:
    """Build a cipher.

    Args:
        cfg: ``dict(type='Shuffle', block_size=4)``, or a list of such dicts for a sequence, which may be written
            ``dict(type='Sequence', ciphers=[...])`` too. ``allow_weak=True`` in any of them permits a weak cipher.
        key: The secret key. ``ReferenceCipher`` takes none.
        channels: C, the channels of the images.

    Returns:
        The cipher.

    Raises:
        ConfigError: An unknown type, or missing or unknown parameters.
        WeakCipherError: The cipher has less than 80 key bits and ``allow_weak`` is not set.
        BlockAlignmentError: The block size is not usable, or the sizes of a sequence differ.
    """
    parts, allow_weak = _parts(cfg)
    ciphers = [_build_one(part, key, channels) for part in parts]
    cipher = ciphers[0] if len(ciphers) == 1 else Sequence(ciphers)
    bits = cipher.key_space_bits
    if bits < MIN_KEY_BITS and not isinstance(cipher, ReferenceCipher):  # which has warned already
        found = f'{cipher.name} with {channels} channels has {bits:.1f} key bits; {MIN_KEY_BITS:.0f} are the least.'
        if not allow_weak:
            raise WeakCipherError(
                f'Expected a cipher that withstands trying out its keys, but {found} '
                'Use a larger block_size or Shuffle with NegativePositive, or set allow_weak=True if this is meant.'
            )
        warnings.warn(f'Weak cipher, as asked for: {found} Its keys can be tried out.', stacklevel=2)
    return cipher


def _parts(cfg: CipherConfig) -> tuple[list[dict[str, Any]], bool]:
    """Return the single ciphers' configurations, and whether one of them allows weakness."""
    if isinstance(cfg, Mapping) and cfg.get('type') == 'Sequence':
        rest = {name: value for name, value in cfg.items() if name not in ('type', 'ciphers', 'allow_weak')}
        if rest or not isinstance(cfg.get('ciphers'), list | tuple):
            raise ConfigError(f"Expected dict(type='Sequence', ciphers=[...]), but got the fields {sorted(cfg)}.")
        parts, allow_weak = _parts(cfg['ciphers'])
        return parts, allow_weak or cfg.get('allow_weak', False)
    if not isinstance(cfg, list | tuple):
        cfg = [cfg]
    if not cfg or not all(isinstance(part, Mapping) and 'type' in part for part in cfg):
        raise ConfigError(
            "Expected a cipher as dict(type='Shuffle', block_size=4) or a list of such dicts, but got "
            f'{"an empty list" if not cfg else [type(part).__name__ for part in cfg]}.'
        )
    plain = [{name: value for name, value in part.items() if name != 'allow_weak'} for part in cfg]
    return plain, any(part.get('allow_weak', False) for part in cfg)


def _build_one(cfg: dict[str, Any], key: SecretKey | None, channels: int) -> BlockCipher:
    kind, kwargs = cfg['type'], {name: value for name, value in cfg.items() if name != 'type'}
    single = sorted(set(CIPHERS) - {'Sequence'})
    if kind not in single:
        raise ConfigError(f'Expected a cipher type out of {single}, but got {kind!r}.')
    if kind != 'ReferenceCipher':
        if not isinstance(key, SecretKey):
            raise ConfigError(f'Expected `key` to be a SecretKey for {kind}, but got {type(key).__name__}.')
        kwargs['key'] = key
    try:
        return CIPHERS[kind](channels=channels, **kwargs)
    except TypeError as error:  # Python's own word on missing and unknown parameters
        raise ConfigError(f'Expected the parameters of {kind}, but got: {error}.') from None
