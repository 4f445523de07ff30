"""Modules whose output is encrypted, as part of the module graph.

A module at an encrypted place becomes an instance of a subclass of its own class, as
:func:`torch.nn.utils.parametrize.register_parametrization` does. The subclass runs the forward pass of the plain class,
then the transform. Forward hooks would not do: torch.compile does not guard them, so that a model could run the program
that was compiled for a plain one, without its key. The names in the state dict stay as they are.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.features.places import Place

FeatureFunction = Callable[[Tensor, int], Tensor]
"""A function of a feature map and the number of its channel dimension; it returns a feature map of the same shape."""


class TokenGrid(threading.local):
    """The rows and columns of the tokens of an embedding, for each thread that runs the model.

    torch.compile and torch.export can trace a :class:`threading.local`, but not a context variable.
    """

    shape: tuple[int, int] = (0, 0)

    def __reduce__(self) -> Any:
        """Copy the object as a new one, without the shape of any thread."""
        return TokenGrid, ()


class EncryptedPlace:
    """What a module at a place does to its output.

    The function is kept here, and not in the module, so that a function with parameters is no part of the model.

    Args:
        function: The function of the feature map.
        tokens: Whether the output is tokens (N, L, C), and not a map (N, C, H, W).
        grid: The rows and columns of the tokens, where the function needs a map (N, C, H, W); else None.
    """

    def __init__(self, function: FeatureFunction, tokens: bool, grid: TokenGrid | None = None) -> None:
        self.function, self.tokens, self.grid = function, tokens, grid

    def encrypt(self, output: Tensor) -> Tensor:
        """Apply the function to the output of the module."""
        if not self.tokens:
            return self.function(output, 1)
        if self.grid is None:
            return self.function(output, -1)
        height, width = self.grid.shape
        first = output.shape[1] - height * width  # the number of class tokens, which stay
        tokens = output[:, first:].transpose(1, 2).unflatten(2, (height, width))
        return torch.cat([output[:, :first], self.function(tokens, 1).flatten(2).transpose(1, 2)], 1)


class _Extended:
    """Base of the classes that are put before the class of a module. A copy of a module is of the same kind."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        _, _, *state = super().__reduce_ex__(max(2, protocol))  # type: ignore[misc]
        extension, plain = type(self).__bases__
        return _new, (extension, plain), *state


class EncryptedOutput(_Extended):
    """Extends the class of a module: the output is encrypted."""

    encrypted_place: EncryptedPlace | None = None
    """Set by :func:`~mmseg_keyprotect.models.features.encrypted_modules.encrypt_output`.

    None in a slice of a Sequential, whose output is another feature map.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward pass of the plain class, and encrypt its output."""
        output = super().forward(*args, **kwargs)  # type: ignore[misc]
        return output if self.encrypted_place is None else self.encrypted_place.encrypt(output)


class NotedGrid(_Extended):
    """Extends the class of an embedding: the rows and columns of the tokens are noted for the encrypted places."""

    token_grid: TokenGrid

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward pass of the plain class, and note the rows and columns that it returns."""
        output = super().forward(*args, **kwargs)  # type: ignore[misc]
        self.token_grid.shape = tuple(output[1])
        return output


def encrypt_output(place: Place, function: FeatureFunction, as_map: bool) -> EncryptedPlace:
    """Let the module at a place encrypt its output.

    Args:
        place: The place.
        function: The function of the feature map.
        as_map: Whether tokens are given to the function as a map (N, C, H, W) instead of (N, L, C).

    Returns:
        The object whose attribute ``function`` is in use from now on.

    Raises:
        ConfigError: The output of the module is encrypted already.
    """
    if issubclass(type(place.module), EncryptedOutput):
        raise ConfigError(
            f'Expected a backbone with plain feature maps, but got one that is encrypted at {place.name} already. '
            'Build the backbone again.'
        )
    grid = _note_grid(place.embedding) if as_map and place.embedding is not None else None
    encrypted = EncryptedPlace(function, place.embedding is not None, grid)
    _extend(place.module, EncryptedOutput).encrypted_place = encrypted
    return encrypted


def _note_grid(embedding: Any) -> TokenGrid:
    """Return the object in which an embedding notes the rows and columns of its tokens."""
    if not isinstance(embedding, NotedGrid):
        _extend(embedding, NotedGrid).token_grid = TokenGrid()
    grid: TokenGrid = embedding.token_grid
    return grid


def _extend(module: Any, extension: type) -> Any:
    """Make a module an instance of its class with an extension, and return it."""
    module.__class__ = _extended(extension, type(module))  # type: ignore[arg-type]  # mypy: no class of Any is hashable
    return module


@functools.cache
def _extended(extension: type, plain: type) -> type:
    """Return the class with an extension: one for each class, so that compiled programs are shared."""
    word = 'Encrypted' if extension is EncryptedOutput else 'Noted'
    return type(f'{word}{plain.__name__}', (extension, plain), {'__module__': __name__, '__doc__': plain.__doc__})


def _new(extension: type, plain: type) -> Any:
    """Return an empty instance of a class with an extension, whose state copying and unpickling set."""
    return object.__new__(_extended(extension, plain))
