"""ResNet, and ResNetV1c, ResNetV1d and ResNeXt, which inherit it."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, binding_error, register_backbone
from mmseg_keyprotect.models.backbones.layout import Chain, Link, Stage


@register_backbone('ResNet')
class ResNetAdapter(BackboneAdapter):
    """Describes a ResNet. Its streams pass a ReLU after every block, so channels cannot change their signs."""

    first_convolutions = ('conv1', 'stem.0')  # the second of ResNetV1c and ResNetV1d

    def stages(self) -> list[Stage]:
        """Return one stage for each of ``layer1``, ``layer2``, ..."""
        layers = [self.backbone.get_submodule(name) for name in self.backbone.res_layers]
        return [Stage(layer, list(layer), _last_pair(layer[-1])[1].num_features) for layer in layers]

    def chains(self) -> list[Chain]:
        """Return the stream of each stage, which starts at its first downsampling, or else at the stem.

        Raises:
            ConfigError: A block has plugins.
        """
        return [self._chain(number, name) for number, name in enumerate(self.backbone.res_layers)]

    def _chain(self, number: int, name: str) -> Chain:
        links = []
        for index, block in enumerate(self.backbone.get_submodule(name)):
            if getattr(block, 'with_plugins', False):
                raise binding_error('a plugin of the backbone reads the feature maps too', 'Remove the plugin')
            link = Link([f'stage={number}/block={index}'], [_last_pair(block)])
            if block.downsample is None:
                link.reads = [block.conv1]
            else:
                link.open = False
                link.writes.append((block.downsample[-2], block.downsample[-1]))
            links.append(link)
        if links[0].open:  # the first stage of ResNet-18 and -34 continues the stream of the stem
            links.insert(0, Link([], [self._stem_pair()], open=False))
        return Chain(links, signed=False, tail_places=[f'stage={number}'])

    def _stem_pair(self) -> tuple[nn.Module, nn.Module]:
        backbone = self.backbone
        return (backbone.stem[-3], backbone.stem[-2]) if backbone.deep_stem else (backbone.conv1, backbone.norm1)


def _last_pair(block: Any) -> tuple[Any, Any]:
    """Return the last convolution of a basic block or bottleneck, and its normalisation."""
    return (block.conv3, block.norm3) if hasattr(block, 'norm3_name') else (block.conv2, block.norm2)
