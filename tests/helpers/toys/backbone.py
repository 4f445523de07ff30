"""A toy backbone."""

from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.models.backbones import BackboneAdapter, Chain, Link, Stage, register_backbone


class ToyStage(nn.Sequential):
    """A convolution with a batch norm and a ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(nn.Conv2d(in_channels, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU())


@MODELS.register_module()
class ToyBackbone(nn.Module):
    """A stem and two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Conv2d(3, 8, 3, 2, 1)
        self.first, self.second = ToyStage(8, 16), ToyStage(16, 24)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of both stages."""
        first = self.first(self.begin(x))
        return [first, self.second(first)]


@register_backbone('ToyBackbone')
class ToyAdapter(BackboneAdapter):
    """Describes a ToyBackbone."""

    first_convolutions = ('begin',)

    def stages(self) -> list[Stage]:
        """Return both stages."""
        return [Stage(stage, [stage], stage[0].out_channels) for stage in (self.backbone.first, self.backbone.second)]

    def chains(self) -> list[Chain]:
        """Return the stream of each stage; a ReLU keeps signs as they are."""
        stages = (self.backbone.first, self.backbone.second)
        return [
            Chain([Link([f'stage={number}'], [(stage[0], stage[1])], open=False)], signed=False)
            for number, stage in enumerate(stages)
        ]
