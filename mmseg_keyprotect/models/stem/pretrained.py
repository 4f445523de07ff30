"""Pretrained backbones for block stems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.stem.block_stem import BlockStem


@WEIGHT_INITIALIZERS.register_module()
class KeyedPretrained(PretrainedInit):
    """mmengine's ``Pretrained`` for a backbone with a block stem; it insists that the first convolution is loaded.

    A checkpoint of the plain backbone, of MMSegmentation or torchvision, is loaded; its first convolution is lifted
    and absorbs key, mean and std, so that training on encrypted images starts from the same function as on plain ones.

    Args:
        checkpoint: Path or URL.
        prefix: Of the backbone's names in it: ``'backbone.'`` for a checkpoint of a whole segmentor.
        map_location: As for ``torch.load``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the weights.

        Raises:
            ConfigError: The module has no block stem, or the checkpoint no such first convolution.
        """
        stems = [(name, part) for name, part in module.named_modules() if isinstance(part, BlockStem)]
        if not stems:
            raise ConfigError(
                f'Expected a backbone with a block stem for KeyedPretrained, but got a plain {type(module).__name__}. '
                "Set model.type to KeyedEncoderDecoder, or use dict(type='Pretrained', ...)."
            )
        super().__call__(module)
        for name, stem in stems:
            check_lifted(stem, name, self.checkpoint)


def keyed_to_pretrained(backbone: Mapping[str, Any]) -> tuple[str | None, ConfigDict]:
    """Write ``Pretrained`` for ``KeyedPretrained``, since mmengine and the backbones treat that word specially.

    They load such weights last, and adapt position embeddings; the block stem does the rest as it is loaded.

    Returns:
        The checkpoint, None where there was no KeyedPretrained, and the backbone's configuration.
    """
    init = backbone.get('init_cfg')
    parts = init if isinstance(init, list | tuple) else [init]
    keyed = [part for part in parts if isinstance(part, Mapping) and part.get('type') == 'KeyedPretrained']
    if not keyed:
        return None, ConfigDict(backbone)
    changed = [{**part, 'type': 'Pretrained'} if part in keyed else part for part in parts]
    return keyed[0]['checkpoint'], ConfigDict({**backbone, 'init_cfg': changed if len(parts) > 1 else changed[0]})


def is_pretrained(backbone: Mapping[str, Any], pretrained: str | None = None) -> bool:
    """Tell whether a backbone's configuration names pretrained weights."""
    init = backbone.get('init_cfg')
    parts = init if isinstance(init, list | tuple) else [init]
    named = any(isinstance(part, Mapping) and part.get('type') == 'Pretrained' for part in parts)
    return bool(named or pretrained or backbone.get('pretrained'))


def check_lifted(stem: BlockStem, name: str, checkpoint: str) -> None:
    """Raise ConfigError unless plain weights were loaded into the stem ``name`` from ``checkpoint``."""
    if not stem.lifted:
        raise ConfigError(
            f'Expected {checkpoint} to hold {name}.weight of shape {stem.plain_shape}, but it does not. Give a '
            "checkpoint of this backbone; for one of a whole segmentor, init_cfg needs prefix='backbone.', which a "
            'VisionTransformer does not take.'
        )
