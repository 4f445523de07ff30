"""The backbones that can have a block stem or encrypted feature maps, one file each.

To add one, write a file with a subclass of :class:`~mmseg_keyprotect.models.backbones.base.BackboneAdapter` and
register it with :func:`~mmseg_keyprotect.models.backbones.base.register_backbone`. Nothing else names a backbone. A
file of this package is imported below; a file of yours goes into ``custom_imports`` of the config.
"""

from mmseg_keyprotect.models.backbones import (  # noqa: F401  importing an adapter registers it
    convnext,
    mix_transformer,
    mobilenet_v2,
    resnet,
    swin,
    vision_transformer,
)
from mmseg_keyprotect.models.backbones.base import (
    BackboneAdapter,
    adapter_of,
    binding_error,
    register_backbone,
    registered_backbones,
)
from mmseg_keyprotect.models.backbones.layout import Chain, Link, Part, Stage

__all__ = [
    'BackboneAdapter',
    'Chain',
    'Link',
    'Part',
    'Stage',
    'adapter_of',
    'binding_error',
    'register_backbone',
    'registered_backbones',
]
