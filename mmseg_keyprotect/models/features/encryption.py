"""Encryption of feature maps inside the network (arXiv 2109.01332, 2206.05422).

Encrypted feature maps are an obstacle for an attacker who reads the weights, not a wall, however many key bits they
have. In a bound model, the signs of ``FeatureSign`` are the signs of the gains of a normalisation layer, and the order
of ``FeatureShuffle`` shows in statistics that the layers after a place keep. The audit's ``batch-norm-memory`` gets
32.4 of 36.3 mIoU of a SegFormer-B0 that is bound at every stage and in the images, with 8 unlabelled plain images and 8
encrypted ones, without training. Beside the public model that a protected model was bound from, the whole key is read
off the weights. Seal the checkpoint as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.feature_ciphers import DEFAULT_FEATURE_CIPHER, FeatureCipher, FeatureStep
from mmseg_keyprotect.errors import ConfigError, LeakedKeyError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.keys.providers import build_key
from mmseg_keyprotect.models.features.encrypted_modules import EncryptedPlace, FeatureFunction, encrypt_output
from mmseg_keyprotect.models.features.places import find_places


class KeyedFeatures:
    """Applies the transforms of one place to tensors.

    The object holds key material: pickling it raises, and a deep copy of it is the object itself.

    Args:
        steps: The transforms, in order, as from
            :meth:`~mmseg_keyprotect.ciphers.feature_ciphers.FeatureCipher.steps`.
    """

    def __init__(self, steps: Sequence[FeatureStep]) -> None:
        self.steps = list(steps)
        pairs = (step.transform.signed_permutation() for step in self.steps)
        here = [(torch.from_numpy(source), torch.from_numpy(sign)) for source, sign in pairs]
        self._constants = {torch.device('cpu'): here}

    def __call__(self, x: Tensor, dim: int) -> Tensor:
        """Transform a feature map.

        Args:
            x: Floating point, (N, C, H, W), or tokens (N, L, C).
            dim: The dimension of the channels: 1 or -1. A step on blocks needs (N, C, H, W).

        Returns:
            A tensor of the same shape and dtype.
        """
        for step, (source, sign) in zip(self.steps, self._on(x.device), strict=True):
            if step.block_size > 1:
                x = _by_blocks(x, source, step.block_size)
            else:
                x = x.index_select(dim, source)
                x = x * sign.to(x.dtype).view((-1, 1, 1) if dim == 1 else -1)
        return x

    def _on(self, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """Return the order and the signs of every step on a device, copied there once."""
        if device in self._constants:
            return self._constants[device]
        moved = [(source.to(device), sign.to(device)) for source, sign in self._constants[torch.device('cpu')]]
        if all(type(source) is Tensor for source, _ in moved):  # not while an export traces the model
            self._constants[device] = moved
        return moved

    def __deepcopy__(self, memo: dict) -> KeyedFeatures:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LeakedKeyError(
            'Expected a model with encrypted feature maps never to be pickled, since it holds key material, but got a '
            'request to pickle it. Save its state dict, and build the model again from its configuration.'
        )


def _by_blocks(x: Tensor, source: Tensor, block_size: int) -> Tensor:
    """Permute the samples of every block of (N, C, H, W); a rest at the edge that is no whole block stays.

    Args:
        x: (N, C, H, W).
        source: int64 (M * M * C,), the permutation, of samples in the order (row, column, channel) of the format.
        block_size: M, in positions of the map.
    """
    m, (channels, height, width) = block_size, x.shape[1:]
    rows, columns = height // m * m, width // m * m
    if not rows or not columns:  # the map is smaller than a block
        return x
    place = torch.arange(m * m * channels, device=x.device).reshape(channels, m * m).t().flatten()
    grid = torch.empty_like(source)
    grid[place] = place[source]  # from the format's order to that of pixel_unshuffle, (channel, row, column)
    blocks = F.pixel_unshuffle(x[..., :rows, :columns], m).index_select(1, grid)
    if (rows, columns) == (height, width):
        return F.pixel_shuffle(blocks, m)
    x = x.clone()
    x[..., :rows, :columns] = F.pixel_shuffle(blocks, m)
    return x


class FeatureEncryption(nn.Module):
    """Encrypts feature maps of a backbone; the code of the backbone stays as it is.

    The modules at the encrypted places become instances of subclasses that encrypt their output.

    The module has no parameters. Its state dict holds ``protection`` alone, uint8: the public text of the key id, the
    cipher, the places and their channels.

    Args:
        backbone: A backbone whose adapter describes its stages: a ResNet, MobileNetV2, MixVisionTransformer or
            VisionTransformer, or one that :func:`~mmseg_keyprotect.models.backbones.base.register_backbone` has added.
            Its modules are changed in place.
        cipher: The cipher's configuration, see :class:`~mmseg_keyprotect.ciphers.feature_ciphers.FeatureCipher`.
        stages: Numbers of stages from 0, or ``'all'``, to encrypt the outputs of these stages.
        blocks: ``'all'``, to encrypt the output of every block inside the stages.
        key: The key's configuration. Defaults to the file that the variable KEYPROTECT_KEY_FILE names.
        key_id: If set, the id that the key must have.

    Raises:
        ConfigError: The backbone, the cipher or a stage cannot be encrypted, or is listed twice.
        WeakCipherError: All places together have fewer than 80 key bits. More bits only exclude trying out all keys;
            an attacker who reads the weights does not have to.
        WrongKeyError: The key has another id, or a checkpoint was made with another key, cipher or other places.

    Example:
        >>> from mmseg.models.backbones import MobileNetV2
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> FeatureEncryption(MobileNetV2(), stages=(3, 6), key=SecretKey.generate())
        FeatureEncryption(feature-shuffle+feature-sign/stages=3-6/C=64-320)
    """

    protection: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        cipher: Mapping[str, Any] | list | tuple = DEFAULT_FEATURE_CIPHER,
        stages: Sequence[int] | str | None = None,
        blocks: str | None = None,
        key: Any = None,
        key_id: str | None = None,
    ) -> None:
        super().__init__()
        self.places = find_places(backbone, stages, blocks)
        self.cipher = FeatureCipher(cipher)
        channels = [place.channels for place in self.places]
        self.key_space_bits = self.cipher.key_space_bits(channels)
        key = build_key(key)
        if key_id not in (None, key.key_id):
            raise WrongKeyError(
                f'Expected the key {key_id}, which feature_encryption names, but got the key {key.key_id}. Give the '
                'key file of that id, or take `key_id` out of the configuration.'
            )
        where = []
        if stages is not None:
            where.append(f'stages={stages if isinstance(stages, str) else "-".join(map(str, stages))}')
        if blocks is not None:
            where.append('blocks=all')
        widths = '-'.join(map(str, dict.fromkeys(channels)))
        self.identity = Identity(key.key_id, '/'.join([self.cipher.name, *where, f'C={widths}']))
        self.register_buffer('protection', self.identity.to_tensor())
        self.folded: dict[str, KeyedFeatures] | None = None
        """The functions that were folded into the weights of the backbone; None while they are applied."""
        self._encrypted: dict[str, EncryptedPlace] = {}
        for place, function in zip(self.places, self.functions_of(key).values(), strict=True):
            self._encrypted[place.name] = encrypt_output(place, function, self.cipher.block_size > 1)

    def functions_of(self, key: SecretKey) -> dict[str, KeyedFeatures]:
        """Return the transforms that a key gives, by the name of the place."""
        return {place.name: KeyedFeatures(self.cipher.steps(key, place.name, place.channels)) for place in self.places}

    def functions_of_each(self, keys: Sequence[SecretKey | None]) -> dict[str, FeatureFunction]:
        """Return functions that transform each image of a batch with a key of its own, by the name of the place.

        Args:
            keys: A key for every image of the batch; None leaves the feature maps of that image unchanged.
        """
        return self.by_image([self.identity_functions if key is None else self.functions_of(key) for key in keys])

    def by_image(self, each: Sequence[Mapping[str, FeatureFunction]]) -> dict[str, FeatureFunction]:
        """Return functions that transform each image of a batch by functions of its own, by the name of the place.

        Args:
            each: The functions for every image of the batch, by the name of the place.
        """
        if len(each) == 1:
            return dict(each[0])
        return {place.name: _by_image([functions[place.name] for functions in each]) for place in self.places}

    @property
    def functions(self) -> dict[str, FeatureFunction]:
        """The functions in use, by the name of the place: those of the correct key until ``use`` is called."""
        return {name: place.function for name, place in self._encrypted.items()}

    @property
    def keyed_functions(self) -> dict[str, KeyedFeatures]:
        """The functions in use, as ``functions``.

        Raises:
            ConfigError: They are not those of a key.
        """
        keyed = {name: one for name, one in self.functions.items() if isinstance(one, KeyedFeatures)}
        if len(keyed) < len(self.places):
            raise ConfigError(
                'Expected feature maps that are transformed with a key, but got others: the transforms are folded into '
                'the weights, or those of users without the key are in use. Call unfold() of the model first, or use '
                'the functions of a key.'
            )
        return keyed

    @property
    def identity_functions(self) -> dict[str, FeatureFunction]:
        """The functions of a user without a key, who changes no feature map, by the name of the place."""
        return dict.fromkeys(self._encrypted, _unchanged)

    def use(self, functions: Mapping[str, FeatureFunction]) -> None:
        """Apply other functions from now on.

        Args:
            functions: A function for every place, by its name.

        Raises:
            KeyError: A place has no function; the functions in use stay as they are.
        """
        chosen = {name: functions[name] for name in self._encrypted}
        for name, place in self._encrypted.items():
            place.function = chosen[name]

    @contextmanager
    def using(self, functions: Mapping[str, FeatureFunction]) -> Iterator[None]:
        """Apply other functions within the ``with`` block.

        Args:
            functions: A function for every place, by its name.

        Raises:
            KeyError: A place has no function; the functions in use stay as they are.
        """
        before = self.functions
        try:
            self.use(functions)
            yield
        finally:
            self.use(before)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # a copy, since averages of models in place would change the text
        destination[f'{prefix}protection'] = self._stated().to_tensor().to(self.protection.device)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        self._stated().check(Identity.from_tensor(state_dict.get(f'{prefix}protection')))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _stated(self) -> Identity:
        """The identity in the state dict. Folded weights have another one: they work without the transforms."""
        return self.identity if self.folded is None else replace(self.identity, cipher=f'{self.identity.cipher}/folded')

    def extra_repr(self) -> str:
        """Return the public name of the cipher, with the places and their channels."""
        return self.identity.cipher


def _unchanged(x: Tensor, dim: int) -> Tensor:
    return x


def _by_image(functions: Sequence[FeatureFunction]) -> FeatureFunction:
    """Return the function that applies one function to each image of a batch."""

    def transform(x: Tensor, dim: int) -> Tensor:
        images = zip(functions, x.split(1), strict=True)
        return torch.cat([function(image, dim) for function, image in images])

    return transform
