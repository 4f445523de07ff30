"""The single ciphers of feature maps (arXiv 2109.01332, 2206.05422; docs/spec.md, section 11)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from mmseg_keyprotect.ciphers.base import log2_binomial, log2_factorial
from mmseg_keyprotect.ciphers.blocks import check_block_size
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.negative_positive import keyed_half
from mmseg_keyprotect.ciphers.registry import add_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


class FeatureTransform(ABC):
    """A keyed transform of feature maps, the same at every position or in every block of a map.

    A new one is one subclass and one :func:`mmseg_keyprotect.ciphers.register_feature_cipher`. The parameters of a
    configuration are those of its constructor.
    """

    word: str
    """The word of the cipher in the specification and in names; it begins with ``feature-``."""

    has_order: bool = False
    """Whether the key moves channels to other places."""

    has_signs: bool = False
    """Whether the key changes the signs of channels."""

    selectable: bool = True
    """Whether the command line offers the cipher by its word, without ``feature-``. It then has no parameters."""

    def __init__(self) -> None:
        self.block_size = 1
        """M. With 1 the transform treats every position separately and is a transform of channels."""

    @abstractmethod
    def transform(self, key: SecretKey, place: str, channels: int) -> BlockTransform:
        """Return the transform of the n = M * M * C samples of a block; its mask marks samples whose sign changes.

        Args:
            key: The secret key.
            place: The name of the place in labels, for example ``stage=3``.
            channels: C at that place.
        """

    @abstractmethod
    def key_bits(self, channels: int) -> float:
        """Return log2 of the number of keys at one place with that many channels."""


FEATURE_CIPHERS: dict[str, type[FeatureTransform]] = {}
"""The class of every registered cipher of feature maps, by the ``type`` that names it in a configuration."""

Class = TypeVar('Class', bound=type[FeatureTransform])


def register_feature_cipher(cls: Class) -> Class:
    """Register a cipher of feature maps, so that configurations, the command line and the audit know it.

    Args:
        cls: A subclass of :class:`~mmseg_keyprotect.ciphers.FeatureTransform`.

    Returns:
        The class, so that this function can be a decorator.

    Raises:
        ConfigError: Another class has the same name or the same word.

    Example:
        >>> @register_feature_cipher
        ... class Reverse(FeatureTransform):
        ...     word, has_order = 'feature-reverse', True
        ...
        ...     def transform(self, key, place, channels):
        ...         return BlockTransform(np.arange(channels)[::-1])
        ...
        ...     def key_bits(self, channels):
        ...         return 0.0
        >>> FeatureCipher(dict(type='Reverse')).name
        'feature-reverse'
        >>> del FEATURE_CIPHERS['Reverse']
    """
    add_cipher(FEATURE_CIPHERS, cls)
    return cls


@register_feature_cipher
class FeatureShuffle(FeatureTransform):
    """Permutes the channels in the same way at every position ("spatially invariant" in arXiv 2109.01332).

    Example:
        >>> FeatureShuffle().transform(SecretKey.generate(), 'stage=0', channels=64).samples
        64
    """

    word = 'feature-shuffle'
    has_order = True

    def transform(self, key: SecretKey, place: str, channels: int) -> BlockTransform:
        """Return a permutation of the channels."""
        return BlockTransform(permutation(key, channels, f'feature-shuffle/{place}/C={channels}'))

    def key_bits(self, channels: int) -> float:
        """Return log2(C!)."""
        return log2_factorial(channels)


@register_feature_cipher
class FeatureSign(FeatureTransform):
    """Changes the signs of half of the channels.

    Example:
        >>> int((FeatureSign().transform(SecretKey.generate(), 'stage=0', channels=64).mask > 0).sum())
        32
    """

    word = 'feature-sign'
    has_signs = True

    def transform(self, key: SecretKey, place: str, channels: int) -> BlockTransform:
        """Return a transform that marks half of the channels."""
        return BlockTransform.flip(keyed_half(key, channels, f'feature-sign/{place}/C={channels}'))

    def key_bits(self, channels: int) -> float:
        """Return log2 of C choose floor(C/2)."""
        return log2_binomial(channels, channels // 2)


@register_feature_cipher
class FeatureBlockShuffle(FeatureTransform):
    """Permutes the samples of every M x M block of a feature map, as ``shuffle`` does with an image.

    Args:
        block_size: M, in positions of the map.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> FeatureBlockShuffle(block_size=2).transform(SecretKey.generate(), 'stage=0', channels=64).samples
        256
    """

    word = 'feature-block-shuffle'
    has_order = True
    selectable = False

    def __init__(self, block_size: int) -> None:
        super().__init__()
        self.block_size = check_block_size(block_size)

    def transform(self, key: SecretKey, place: str, channels: int) -> BlockTransform:
        """Return a permutation of the M * M * C samples of a block."""
        label = f'feature-block-shuffle/{place}/M={self.block_size}/C={channels}'
        return BlockTransform(permutation(key, channels * self.block_size**2, label))

    def key_bits(self, channels: int) -> float:
        """Return log2((M * M * C)!)."""
        return log2_factorial(channels * self.block_size**2)
