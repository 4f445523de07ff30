"""MobileNetV2."""

from __future__ import annotations

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, register_backbone
from mmseg_keyprotect.models.backbones.layout import Chain, Link, Stage


@register_backbone('MobileNetV2')
class MobileNetV2Adapter(BackboneAdapter):
    """Describes a MobileNetV2. Its blocks end without an activation, so channels may change their signs."""

    first_convolutions = ('conv1.conv',)

    def stages(self) -> list[Stage]:
        """Return one stage for each of ``layer1``, ``layer2``, ..."""
        layers = [self.backbone.get_submodule(name) for name in self.backbone.layers]
        return [Stage(layer, list(layer), layer[-1].conv[-1].conv.out_channels) for layer in layers]

    def chains(self) -> list[Chain]:
        """Return the stream of each stage."""
        return [self._chain(number, name) for number, name in enumerate(self.backbone.layers)]

    def _chain(self, number: int, name: str) -> Chain:
        links = []
        for index, block in enumerate(self.backbone.get_submodule(name)):
            last = block.conv[-1]
            link = Link([f'stage={number}/block={index}'], [(last.conv, last.norm)], open=block.use_res_connect)
            if link.open:
                link.reads = [block.conv[0].conv]
            links.append(link)
        return Chain(links, signed=True, tail_places=[f'stage={number}'])
