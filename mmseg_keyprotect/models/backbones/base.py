"""What the package has to know about a backbone, and the registry of the backbones that it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.backbones.layout import Chain, Stage

_REGISTER = 'mmseg_keyprotect.models.backbones.register_backbone'


class BackboneAdapter:
    """Describes one kind of backbone. The base class knows nothing: every method raises, and says what is missing.

    A subclass sets ``first_convolutions``, which is enough for a block stem. It defines ``stages`` where feature maps
    can be encrypted, and ``chains`` where trained weights can be bound to such an encryption.

    Args:
        backbone: The backbone, plain or with a block stem.
    """

    first_convolutions: ClassVar[tuple[str, ...]] = ()
    """Dotted names of the first convolution; where variants of a backbone differ, each backbone has one of them."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone: Any = backbone  # its attributes have no types

    def first_convolution(self) -> str:
        """Return the dotted name of the first convolution.

        Raises:
            ConfigError: The kind of backbone is not registered, or its first convolution is another module.
        """
        modules = dict(self.backbone.named_modules())
        for name in self.first_convolutions:
            if isinstance(modules.get(name), nn.Conv2d):
                return name
        guess = next((name for name, module in modules.items() if isinstance(module, nn.Conv2d)), 'none')
        raise ConfigError(
            f'Expected a backbone whose first convolution is known, {registered_backbones()} or one that inherits '
            f'them, but got {self._kind} (its first convolution seems to be {guess!r}). Train it with its own stem, or '
            f'describe it with {_REGISTER}.'
        )

    def stages(self) -> list[Stage]:
        """Return the stages of the backbone, in the order of the forward pass.

        Raises:
            ConfigError: The adapter does not describe stages.
        """
        raise ConfigError(
            f'Expected a backbone whose feature maps can be encrypted, {registered_backbones("stages")} or one that '
            f'inherits them, but got {self._kind}. Encrypt the images alone, or describe its stages with {_REGISTER}.'
        )

    def chains(self) -> list[Chain]:
        """Return the streams of channels of the backbone, in the order of the forward pass.

        Raises:
            ConfigError: The adapter does not describe streams, or a part of the backbone has none.
        """
        raise binding_error(
            f'the streams of channels of a {self._kind} are not known',
            f'Use one of {registered_backbones("chains")}, describe its streams with {_REGISTER}',
        )

    @property
    def _kind(self) -> str:
        return type(self.backbone).__name__


_ADAPTERS: dict[str, type[BackboneAdapter]] = {}


def register_backbone(name: str) -> Callable[[type[BackboneAdapter]], type[BackboneAdapter]]:
    """Register the decorated adapter for backbones of a class, and of the classes that inherit it.

    Args:
        name: The name of the backbone's class, as ``model.backbone.type`` of a config has it without a scope.

    Raises:
        ConfigError: Another adapter is registered under this name.

    Example:
        >>> from torch import nn
        >>> class Tiny(nn.Sequential):
        ...     pass
        >>> @register_backbone('Tiny')
        ... class TinyAdapter(BackboneAdapter):
        ...     first_convolutions = ('0',)
        >>> adapter_of(Tiny(nn.Conv2d(3, 8, 3, 2, 1))).first_convolution()
        '0'
    """

    def register(adapter: type[BackboneAdapter]) -> type[BackboneAdapter]:
        if _ADAPTERS.setdefault(name, adapter) is not adapter:
            raise ConfigError(
                f'Expected one adapter for the backbone {name}, but got {adapter.__name__} beside '
                f'{_ADAPTERS[name].__name__}. Register a class of backbone that inherits {name} under its own name.'
            )
        return adapter

    return register


def registered_backbones(having: str = 'first_convolutions') -> list[str]:
    """Return the sorted names of the registered backbones whose adapter describes something.

    Args:
        having: ``'first_convolutions'``, ``'stages'`` or ``'chains'``.

    Example:
        >>> import mmseg_keyprotect.models.backbones
        >>> 'SwinTransformer' in registered_backbones(), 'SwinTransformer' in registered_backbones('stages')
        (True, False)
    """
    nothing = getattr(BackboneAdapter, having)
    return sorted(name for name, adapter in _ADAPTERS.items() if getattr(adapter, having) != nothing)


def adapter_of(backbone: nn.Module) -> BackboneAdapter:
    """Return the adapter that describes a backbone.

    Args:
        backbone: Any module.

    Returns:
        The adapter that is registered for its class, or else for the nearest class that it inherits. For other
        modules the base class, whose methods raise.
    """
    kinds = (kind.__name__ for kind in type(backbone).__mro__)
    return next((_ADAPTERS[kind] for kind in kinds if kind in _ADAPTERS), BackboneAdapter)(backbone)


def binding_error(reason: str, instead: str) -> ConfigError:
    """Return the error for an encryption of feature maps that trained weights cannot be bound to.

    Args:
        reason: Why, in lower case and without a full stop.
        instead: What to do, as an imperative without a full stop.
    """
    return ConfigError(
        f'Expected an encryption of feature maps that trained weights can be bound to, but {reason}. {instead}, or '
        'train the model with the key from the start (feature_encryption.bind=False).'
    )
