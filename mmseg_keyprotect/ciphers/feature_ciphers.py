"""One cipher of feature maps or a sequence of them, from a configuration (docs/spec.md, section 11)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as AnySequence
from typing import Any, NamedTuple

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, MIN_KEY_BITS
from mmseg_keyprotect.ciphers.feature_transforms import FEATURE_CIPHERS, FeatureTransform
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError, WeakCipherError
from mmseg_keyprotect.keys import SecretKey

DEFAULT_FEATURE_CIPHER = (dict(type='FeatureShuffle'), dict(type='FeatureSign'))
"""Channel permutation, then sign changes."""


class FeatureStep(NamedTuple):
    """One step of the encryption of a feature map at a place.

    Args:
        transform: The transform of the n = M * M * C samples of every M x M block. A sample changes its sign where the
            mask is set.
        block_size: M. With 1 the transform treats every position separately and is a transform of channels.
    """

    transform: BlockTransform
    block_size: int


class FeatureCipher:
    """One cipher of feature maps, or a sequence of them that is applied from left to right.

    Args:
        cfg: ``dict(type='FeatureShuffle')``, ``dict(type='FeatureSign')``,
            ``dict(type='FeatureBlockShuffle', block_size=2)``, or a list of them, each at most once.
            ``allow_weak=True`` in any of them permits fewer than 80 key bits.

    Raises:
        ConfigError: A type or a parameter is unknown or missing, or a cipher is listed twice.
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> cipher = FeatureCipher(DEFAULT_FEATURE_CIPHER)
        >>> cipher.name, cipher.has_order, cipher.has_signs
        ('feature-shuffle+feature-sign', True, True)
        >>> [step.transform.samples for step in cipher.steps(SecretKey.generate(), 'stage=0', channels=64)]
        [64]
    """

    def __init__(self, cfg: Mapping[str, Any] | AnySequence[Mapping[str, Any]] = DEFAULT_FEATURE_CIPHER) -> None:
        parts = list(cfg) if isinstance(cfg, list | tuple) else [cfg]
        kinds = [part.get('type') if isinstance(part, Mapping) else part for part in parts]
        if not parts or not set(map(str, kinds)) <= set(FEATURE_CIPHERS):
            raise ConfigError(
                f'Expected a cipher of feature maps, dict(type=...) with a type out of {sorted(FEATURE_CIPHERS)}, or a '
                f'list of such dicts, but got {kinds}. Use one of these types.'
            )
        if len(set(kinds)) < len(kinds):
            raise ConfigError(
                f'Expected every cipher of feature maps once, but got {kinds}. Its key material would be used twice: '
                'remove one.'
            )
        self.allow_weak = any(part.get('allow_weak', False) for part in parts)
        self._parts = [_build_one(part) for part in parts]
        self.block_size = max(part.block_size for part in self._parts)
        self.has_order = any(part.has_order for part in self._parts)
        self.has_signs = any(part.has_signs for part in self._parts)

    @property
    def name(self) -> str:
        """The public name, for example ``feature-shuffle+feature-sign``."""
        words = '+'.join(part.word for part in self._parts)
        return words + (f'/M={self.block_size}' if self.block_size > 1 else '')

    def steps(self, key: SecretKey, place: str, channels: int) -> list[FeatureStep]:
        """Return the steps of the encryption at a place, in order. Neighbours with the same block size become one step.

        Args:
            key: The secret key.
            place: The name of the place in labels, for example ``stage=3``.
            channels: C at that place.
        """
        folded: list[FeatureStep] = []
        for part in self._parts:
            transform = part.transform(key, place, channels)
            if folded and folded[-1].block_size == part.block_size:
                transform = folded.pop().transform.then(transform)
            folded.append(FeatureStep(transform, part.block_size))
        return folded

    def key_space_bits(self, channels: list[int]) -> float:
        """Return log2 of the number of keys, at most 256.

        Args:
            channels: C at every place.

        Raises:
            WeakCipherError: There are fewer than 80 key bits, and ``allow_weak`` is not set.
        """
        bits = sum(part.key_bits(c) for c in channels for part in self._parts)
        if bits < MIN_KEY_BITS and not self.allow_weak:
            raise WeakCipherError(
                f'Expected an encryption of feature maps that withstands an exhaustive search, but {self.name} at '
                f'places of {channels} channels has {bits:.1f} key bits; {MIN_KEY_BITS:.0f} are the minimum. Encrypt '
                'at more stages, or permit it: allow_weak=True in a config, --allow-weak on the command line.'
            )
        return min(bits, MAX_KEY_BITS)


def _build_one(part: Mapping[str, Any]) -> FeatureTransform:
    parameters = {name: value for name, value in part.items() if name not in ('type', 'allow_weak')}
    try:
        return FEATURE_CIPHERS[part['type']](**parameters)
    except TypeError as error:  # Python's own message about missing and unknown parameters
        raise ConfigError(f'Expected the parameters of {part["type"]}, but got: {error}. Correct them.') from None
