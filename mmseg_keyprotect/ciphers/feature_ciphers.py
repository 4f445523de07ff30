"""Keyed transforms of a network's feature maps (arXiv 2109.01332, 2206.05422; docs/spec.md, section 11).

A new one is one function here and one line in ``FEATURE_CIPHERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, log2_binomial, log2_factorial
from mmseg_keyprotect.ciphers.blocks import check_block_size
from mmseg_keyprotect.ciphers.build import MIN_KEY_BITS
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.negative_positive import keyed_half
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError, WeakCipherError
from mmseg_keyprotect.keys import SecretKey

DEFAULT_FEATURE_CIPHER = (dict(type='FeatureShuffle'), dict(type='FeatureSign'))
"""Channel permutation, then sign flip."""


class FeatureStep(NamedTuple):
    """What is done to a feature map at a place.

    Args:
        transform: Of the n = M * M * C samples of every M x M block; where its mask is set, a sample changes its sign.
        block_size: M; with 1, every position of the map alone, which is a transform of channels.
    """

    transform: BlockTransform
    block_size: int


def _shuffle(key: SecretKey, place: str, channels: int) -> BlockTransform:
    """Permute the channels, alike at every position: "spatially invariant" in arXiv 2109.01332."""
    return BlockTransform(permutation(key, channels, f'feature-shuffle/{place}/C={channels}'))


def _sign(key: SecretKey, place: str, channels: int) -> BlockTransform:
    """Flip the signs of half of the channels."""
    return BlockTransform.flip(keyed_half(key, channels, f'feature-sign/{place}/C={channels}'))


def _block_shuffle(key: SecretKey, place: str, channels: int, block_size: int) -> BlockTransform:
    """Permute the samples of every block, as ``shuffle`` does with an image."""
    label = f'feature-block-shuffle/{place}/M={block_size}/C={channels}'
    return BlockTransform(permutation(key, channels * block_size**2, label))


def _block_bits(channels: int, block_size: int) -> float:
    return log2_factorial(channels * block_size**2)


FEATURE_CIPHERS: dict[str, tuple[str, Callable[..., BlockTransform], Callable[..., float]]] = {
    'FeatureShuffle': ('feature-shuffle', _shuffle, log2_factorial),
    'FeatureSign': ('feature-sign', _sign, lambda channels: log2_binomial(channels, channels // 2)),
    'FeatureBlockShuffle': ('feature-block-shuffle', _block_shuffle, _block_bits),
}
"""Type in a config: the cipher's word, its transform at a place, and the bits of its key there."""


class FeatureCipher:
    """One cipher of feature maps, or a sequence of them, applied left to right.

    Args:
        cfg: ``dict(type='FeatureShuffle')``, ``dict(type='FeatureSign')``,
            ``dict(type='FeatureBlockShuffle', block_size=2)``, or a list of them, each at most once.
            ``allow_weak=True`` in any of them permits fewer than 80 key bits.

    Raises:
        ConfigError: An unknown type or parameter, or a cipher that is listed twice.
        BlockAlignmentError: The block size is not an integer of at least 1.
    """

    def __init__(self, cfg: Mapping[str, Any] | list | tuple = DEFAULT_FEATURE_CIPHER) -> None:
        parts = [cfg] if isinstance(cfg, Mapping) else list(cfg if isinstance(cfg, list | tuple) else [cfg])
        kinds = [part.get('type') if isinstance(part, Mapping) else part for part in parts]
        if not parts or not set(map(str, kinds)) <= set(FEATURE_CIPHERS):
            raise ConfigError(
                f'Expected a cipher of feature maps, dict(type=...) with a type out of {sorted(FEATURE_CIPHERS)}, or a '
                f'list of such dicts, but got {kinds}.'
            )
        if len(set(kinds)) < len(kinds):
            raise ConfigError(
                f'Expected every cipher of feature maps once, but got {kinds}. Its key material would be used twice: '
                'take one away.'
            )
        self.allow_weak = any(part.get('allow_weak', False) for part in parts)
        self._parts = []
        for part in parts:
            rest = {name: value for name, value in part.items() if name not in ('type', 'allow_weak')}
            wanted = {'block_size'} if part['type'] == 'FeatureBlockShuffle' else set()
            if set(rest) != wanted:
                raise ConfigError(
                    f'Expected {part["type"]} with the parameters {sorted(wanted)}, but got {sorted(rest)}.'
                )
            if wanted:
                check_block_size(rest['block_size'])
            self._parts.append((part['type'], rest))
        self.block_size = max([rest.get('block_size', 1) for _, rest in self._parts])

    @property
    def has_order(self) -> bool:
        """Whether channels change places."""
        return any(kind != 'FeatureSign' for kind, _ in self._parts)

    @property
    def has_signs(self) -> bool:
        """Whether channels change signs."""
        return any(kind == 'FeatureSign' for kind, _ in self._parts)

    @property
    def name(self) -> str:
        """The public description, for example ``feature-shuffle+feature-sign``."""
        words = '+'.join(FEATURE_CIPHERS[kind][0] for kind, _ in self._parts)
        return words + (f'/M={self.block_size}' if self.block_size > 1 else '')

    def steps(self, key: SecretKey, place: str, channels: int) -> list[FeatureStep]:
        """Return what is done at a place, in order; neighbours of one block size are one.

        Args:
            key: The secret key.
            place: Its name in labels, for example ``stage=3``.
            channels: C there.
        """
        folded: list[FeatureStep] = []
        for kind, parameters in self._parts:
            transform = FEATURE_CIPHERS[kind][1](key, place, channels, **parameters)
            block_size = parameters.get('block_size', 1)
            if folded and folded[-1].block_size == block_size:
                transform = folded.pop().transform.then(transform)
            folded.append(FeatureStep(transform, block_size))
        return folded

    def key_space_bits(self, channels: list[int]) -> float:
        """Return log2 of the number of keys, at most 256.

        Args:
            channels: C at every place.

        Raises:
            WeakCipherError: Fewer than 80 bits, and ``allow_weak`` is not set.
        """
        bits = sum(FEATURE_CIPHERS[kind][2](c, **parameters) for c in channels for kind, parameters in self._parts)
        if bits < MIN_KEY_BITS and not self.allow_weak:
            raise WeakCipherError(
                f'Expected an encryption of feature maps that withstands trying out its keys, but {self.name} at '
                f'places of {channels} channels has {bits:.1f} key bits; {MIN_KEY_BITS:.0f} are the least. Encrypt at '
                'more stages, or set allow_weak=True if this is meant.'
            )
        return min(bits, MAX_KEY_BITS)
