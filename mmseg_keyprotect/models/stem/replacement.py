"""Replacing the first convolution of a backbone by a block stem."""

from __future__ import annotations

from typing import cast

from torch import nn

from mmseg_keyprotect.models.backbones import adapter_of
from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem


def put_block_stem(
    backbone: nn.Module,
    block_size: int,
    border: str = 'grey',
    absorber: StemKeyAbsorber | None = None,
    tied: bool = False,
) -> BlockStem:
    """Replace the first convolution of a backbone, in place, by an untrained block stem.

    Args:
        backbone: A backbone whose first convolution is known.
        block_size: M, in pixels, a multiple of the convolution's stride.
        border: See :class:`~mmseg_keyprotect.models.stem.block_stem.BlockStem`.
        absorber: The normalisation and the key that plain weights absorb as they are loaded later; None where no plain
            weights are loaded.
        tied: Whether the stem is a :class:`~mmseg_keyprotect.models.stem.tied_stem.TiedBlockStem`.

    Returns:
        The block stem, which is now a part of the backbone.

    Raises:
        ConfigError: The kind of backbone is not known, or its first convolution cannot be a block stem.
        BlockAlignmentError: The block size is no multiple of the stride.

    Example:
        >>> from mmseg.models.backbones import MobileNetV2
        >>> backbone = MobileNetV2()
        >>> stem = put_block_stem(backbone, block_size=4)
        >>> backbone.conv1.conv is stem
        True
    """
    name = adapter_of(backbone).first_convolution()
    parent, _, attribute = name.rpartition('.')
    convolution = cast(nn.Conv2d, backbone.get_submodule(name))
    kind = TiedBlockStem if tied else BlockStem
    stem = kind.replacing(convolution, block_size, border, absorber)
    stem.train(backbone.training)
    if not any(parameter.requires_grad for parameter in convolution.parameters()):
        stem.requires_grad_(False)  # the backbone has frozen its first convolution
    setattr(backbone.get_submodule(parent), attribute, stem)
    return stem
