"""Initialising a backbone with a block stem from the weights of a plain one."""

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
    """Initialises a backbone with a block stem from a checkpoint of the plain backbone.

    The checkpoint is one of MMSegmentation or torchvision. Its first convolution is lifted and absorbs key, mean and
    std. So training on encrypted images starts from the same function as training on plain ones. Unlike mmengine's
    ``Pretrained``, this initialiser raises where the first convolution was not loaded.

    Args:
        checkpoint: Path or URL of the checkpoint.
        prefix: The prefix of the backbone's names in the checkpoint: ``'backbone.'`` for one of a whole segmentor.
        map_location: The device to load to, as of ``torch.load``.

    Example:
        >>> backbone = dict(type='ResNet', depth=18, init_cfg=dict(type='KeyedPretrained', checkpoint='resnet18.pth'))
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a backbone.

        Args:
            module: The backbone.

        Raises:
            ConfigError: The module has no block stem, or the checkpoint has no first convolution of its shape.
        """
        stems = [name for name, part in module.named_modules() if isinstance(part, BlockStem)]
        if not stems:
            raise ConfigError(
                f'Expected a backbone with a block stem for KeyedPretrained, but got a plain {type(module).__name__}. '
                "Set model.type to KeyedEncoderDecoder, or use init_cfg=dict(type='Pretrained', ...)."
            )
        super().__call__(module)
        for name in stems:
            check_lifted(module, name, self.checkpoint)


def keyed_to_pretrained(backbone: Mapping[str, Any]) -> tuple[str | None, ConfigDict]:
    """Rewrite ``KeyedPretrained`` as ``Pretrained``, a word that mmengine and the backbones treat specially.

    They load such weights last, and adapt position embeddings to the size of the model. The block stem lifts the
    weights as they are loaded; :func:`~mmseg_keyprotect.models.stem.pretrained.check_lifted` raises where there were
    none.

    Args:
        backbone: The backbone's configuration.

    Returns:
        The checkpoint, or None where there is no KeyedPretrained; and the backbone's configuration to build.
    """
    init = backbone.get('init_cfg')
    parts = init if isinstance(init, list | tuple) else [init]
    keyed = [part for part in parts if isinstance(part, Mapping) and part.get('type') == 'KeyedPretrained']
    if not keyed:
        return None, ConfigDict(backbone)
    changed = [{**part, 'type': 'Pretrained'} if part in keyed else part for part in parts]
    return keyed[0]['checkpoint'], ConfigDict({**backbone, 'init_cfg': changed if len(parts) > 1 else changed[0]})


def is_pretrained(backbone: Mapping[str, Any], pretrained: str | None = None) -> bool:
    """Tell whether a configuration names pretrained weights.

    Args:
        backbone: The backbone's configuration.
        pretrained: The segmentor's own ``pretrained``.
    """
    init = backbone.get('init_cfg')
    parts = init if isinstance(init, list | tuple) else [init]
    named = any(isinstance(part, Mapping) and part.get('type') == 'Pretrained' for part in parts)
    return bool(named or pretrained or backbone.get('pretrained'))


def check_lifted(backbone: nn.Module, name: str, checkpoint: str) -> None:
    """Raise ConfigError unless plain weights were loaded into a block stem.

    Args:
        backbone: The backbone.
        name: The dotted name of its block stem.
        checkpoint: The checkpoint that was loaded, for the message.
    """
    stem = backbone.get_submodule(name)
    if not stem.lifted:
        raise ConfigError(
            f'Expected {checkpoint} to hold {name}.weight of shape {stem.plain_shape}, but it does not. Give a '
            "checkpoint of this backbone; for one of a whole segmentor, init_cfg needs prefix='backbone.', which a "
            'VisionTransformer does not take.'
        )
