"""Building ciphers from their configurations, and refusing weak ones (docs/spec.md, section 4)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from collections.abc import Sequence as AnySequence
from typing import Any, TypeAlias

from mmseg_keyprotect.ciphers.base import MIN_KEY_BITS, BlockCipher
from mmseg_keyprotect.ciphers.registry import CIPHERS
from mmseg_keyprotect.ciphers.sequence import Sequence
from mmseg_keyprotect.errors import ConfigError, WeakCipherError
from mmseg_keyprotect.keys import SecretKey

DEFAULT_CIPHER: tuple[dict[str, Any], ...] = (
    dict(type='Shuffle', block_size=4),
    dict(type='NegativePositive', block_size=4),
)
"""Shuffle, then negative-positive, M = 4: 248 key bits for RGB."""

CipherConfig: TypeAlias = Mapping[str, Any] | AnySequence[Mapping[str, Any]]
"""The configuration of a cipher, or a list or tuple of them for a sequence of ciphers."""


def build_cipher(cfg: CipherConfig, key: SecretKey | None = None, channels: int = 3) -> BlockCipher:
    """Build a cipher from its configuration.

    Args:
        cfg: ``dict(type='Shuffle', block_size=4)``, or a list of such dicts for a sequence. A sequence can also be
            written ``dict(type='Sequence', ciphers=[...])``. ``allow_weak=True`` in any dict permits a weak cipher.
        key: The secret key. Only ciphers from a seed, such as ``ReferenceCipher``, need none.
        channels: C, the number of channels of the images.

    Returns:
        The cipher.

    Raises:
        ConfigError: A type is unknown, or a parameter is missing or unknown.
        WeakCipherError: The cipher has fewer than 80 key bits and ``allow_weak`` is not set.
        BlockAlignmentError: The block size is not usable, or the sizes of a sequence differ.

    Example:
        >>> build_cipher(DEFAULT_CIPHER, SecretKey.generate()).name
        'shuffle+negative-positive/M=4'
    """
    parts = cipher_parts(cfg)
    ciphers = [_build_one(part, key, channels) for part in parts]
    cipher = ciphers[0] if len(ciphers) == 1 else Sequence(ciphers)
    bits = cipher.key_space_bits
    if bits < MIN_KEY_BITS and not cipher.from_seed:  # a cipher from a seed has warned already
        found = f'{cipher.name} with {channels} channels has {bits:.1f} key bits; {MIN_KEY_BITS:.0f} are the minimum'
        if not any(part.get('allow_weak', False) for part in parts):
            raise WeakCipherError(
                f'Expected a cipher that withstands an exhaustive search, but {found}. '
                'Use a larger block_size, use Shuffle with NegativePositive, or permit it: allow_weak=True in a '
                'config, --allow-weak on the command line.'
            )
        warnings.warn(f'Weak cipher, as allow_weak permits: {found}. An attacker can try all keys.', stacklevel=2)
    return cipher


def cipher_parts(cfg: CipherConfig) -> list[dict[str, Any]]:
    """Return the configurations of the single ciphers, in order.

    Args:
        cfg: As for :func:`mmseg_keyprotect.ciphers.build_cipher`.

    Returns:
        One dict for each cipher. ``allow_weak`` of a whole sequence is set in each of its dicts.

    Raises:
        ConfigError: The configuration is not a cipher or a list of ciphers, or a type is unknown.

    Example:
        >>> cipher_parts(dict(type='Sequence', ciphers=[dict(type='FFX', block_size=4)], allow_weak=True))
        [{'type': 'FFX', 'block_size': 4, 'allow_weak': True}]
    """
    if isinstance(cfg, Mapping) and cfg.get('type') == Sequence.__name__:
        rest = {name: value for name, value in cfg.items() if name not in ('type', 'ciphers', 'allow_weak')}
        if rest or not isinstance(cfg.get('ciphers'), list | tuple):
            raise ConfigError(
                f"Expected dict(type='Sequence', ciphers=[...]), but got the fields {sorted(cfg)}. Remove the others."
            )
        weak = dict(allow_weak=True) if cfg.get('allow_weak', False) else {}
        return [{**part, **weak} for part in cipher_parts(cfg['ciphers'])]
    parts: AnySequence[Any] = cfg if isinstance(cfg, list | tuple) else [cfg]  # unchecked before the next line
    if not parts or not all(isinstance(part, Mapping) and 'type' in part for part in parts):
        raise ConfigError(
            "Expected a cipher as dict(type='Shuffle', block_size=4) or a list of such dicts, but got "
            f'{"an empty list" if not parts else [type(part).__name__ for part in parts]}. Write it so.'
        )
    for part in parts:
        if part['type'] not in list(CIPHERS):  # a type may be unhashable
            raise ConfigError(
                f'Expected a cipher type out of {sorted(CIPHERS)}, but got {part["type"]!r}. Use one of them, or '
                'register yours with register_cipher.'
            )
    return [dict(part.items()) for part in parts]


def needs_key(cfg: CipherConfig) -> bool:
    """Tell whether a cipher needs a secret key, which all do except those from a seed.

    Example:
        >>> needs_key(dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=1))
        False
    """
    return not all(CIPHERS[part['type']].from_seed for part in cipher_parts(cfg))


def rekeyed(cfg: CipherConfig, key: SecretKey) -> list[dict[str, Any]]:
    """Return the configuration of the same cipher for another key. A seed is replaced by one derived from the key."""
    return [CIPHERS[part['type']].rekeyed(part, key) for part in cipher_parts(cfg)]


def _build_one(part: Mapping[str, Any], key: SecretKey | None, channels: int) -> BlockCipher:
    parameters = {name: value for name, value in part.items() if name not in ('type', 'allow_weak')}
    try:
        return CIPHERS[part['type']].from_config(parameters, key, channels)
    except TypeError as error:  # Python's own message about missing and unknown parameters
        raise ConfigError(f'Expected the parameters of {part["type"]}, but got: {error}. Correct them.') from None
