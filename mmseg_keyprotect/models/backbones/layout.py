"""The parts of a backbone that feature-map encryption needs: stages, and the streams of channels through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

Part = nn.Module | nn.Parameter
"""A piece of a backbone that holds weights of a stream: a module, or a parameter that is added to the stream."""


@dataclass(frozen=True)
class Stage:
    """A stage of a backbone.

    Args:
        output: The module whose output the next stage and the heads read.
        blocks: The modules inside the stage, in the order of the forward pass.
        channels: C, the channels of the outputs of the stage and of each of its blocks.
        embedding: None where feature maps have the shape (N, C, H, W). Where they are tokens (N, L, C), the module
            that cuts the image into tokens and returns them with their ``(rows, columns)``.
    """

    output: nn.Module
    blocks: Sequence[nn.Module]
    channels: int
    embedding: nn.Module | None = None


@dataclass
class Link:
    """A block of a chain, by the modules that write to the stream and read from it.

    Args:
        places: Names of the places at the output of the block, in the order of the forward pass.
        writes: Pairs of a convolution or linear layer that writes to the stream, and the normalisation between the two,
            or None.
        reads: Parts that read from the stream.
        follows: Parts that normalise the stream itself, or that are added to it.
        open: Whether a residual connection carries the stream past the block. If so, the stream has one order of
            channels at the input and the output of the block.
        plain: Whether something outside the chain reads the output.
    """

    places: Sequence[str]
    writes: list[tuple[nn.Module, nn.Module | None]] = field(default_factory=list)
    reads: list[Part] = field(default_factory=list)
    follows: list[Part] = field(default_factory=list)
    open: bool = True
    plain: bool = False


@dataclass
class Chain:
    """A stream of channels: the links that it passes, from the layer that starts it to the output of the stage.

    Args:
        links: In the order of the forward pass. Where no block starts the stream, the first link is the layer that
            embeds the image or the output of the stage before.
        signed: Whether channels of the stream may change their signs: it passes no ReLU and no LayerNorm.
        tail: A normalisation between the last link and the place of the stage; it may change signs.
        tail_places: Names of the places after ``tail``.
    """

    links: list[Link]
    signed: bool
    tail: nn.Module | None = None
    tail_places: Sequence[str] = ()
