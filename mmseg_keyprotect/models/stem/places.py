"""Where the first convolution of each backbone is."""

from __future__ import annotations

from torch import nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.lifting import PlainInput
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem

STEMS = {
    'ResNet': ('conv1', 'stem.0'),  # the second of ResNetV1c and ResNetV1d; ResNeXt is a ResNet
    'MobileNetV2': ('conv1.conv',),
    'MixVisionTransformer': ('layers.0.0.projection',),
    'VisionTransformer': ('patch_embed.projection',),
    'SwinTransformer': ('patch_embed.projection',),
    'ConvNeXt': ('downsample_layers.0.0',),  # of mmpretrain
}
"""The places by the name of the backbone's class, or of a class that it inherits."""


def put_block_stem(
    backbone: nn.Module,
    block_size: int,
    border: str = 'grey',
    plain_input: PlainInput | None = None,
    tied: bool = False,
) -> BlockStem:
    """Replace the first convolution of a backbone by an untrained block stem.

    Args:
        backbone: Of one of the classes of ``STEMS``; it is changed.
        block_size: M, a multiple of the convolution's stride.
        border: See :class:`BlockStem`.
        plain_input: What plain weights that are loaded later were made for.
        tied: Whether it learns as the plain convolution does, see :class:`TiedBlockStem`.

    Raises:
        ConfigError: The backbone or its first convolution is of another kind.
        BlockAlignmentError: The block size is no multiple of the stride.
    """
    name = find_stem(backbone)
    parent = backbone.get_submodule(name.rpartition('.')[0])
    kind = TiedBlockStem if tied else BlockStem
    stem = kind.replacing(backbone.get_submodule(name), block_size, border, plain_input)
    stem.train(backbone.training)
    if not any(parameter.requires_grad for parameter in backbone.get_submodule(name).parameters()):
        stem.requires_grad_(False)  # the backbone has frozen its first convolution
    setattr(parent, name.rpartition('.')[2], stem)
    return stem


def find_stem(backbone: nn.Module) -> str:
    """Return the dotted name of the first convolution of a backbone.

    Raises:
        ConfigError: The backbone is of another kind.
    """
    for kind in type(backbone).__mro__:
        for name in STEMS.get(kind.__name__, ()):
            try:
                if isinstance(backbone.get_submodule(name), nn.Conv2d):
                    return name
            except AttributeError:  # the other form of the backbone has it
                continue
    first = next((name for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d)), 'none')
    raise ConfigError(
        f'Expected a backbone whose first convolution is known, {sorted(STEMS)} or one that inherits them, but got '
        f'{type(backbone).__name__} (its first convolution seems to be {first!r}). Train it with its own stem, or add '
        'its place to STEMS in mmseg_keyprotect/models/stems.py.'
    )
