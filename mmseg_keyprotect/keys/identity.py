"""The public identity of a protected model: spec version, key id and cipher, stored in its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mmseg_keyprotect.errors import DamagedFileError, UnsupportedSpecError, WrongKeyError
from mmseg_keyprotect.version import SPEC_VERSION

if TYPE_CHECKING:
    from torch import Tensor

META_KEY = 'keyprotect'
"""The entry of a checkpoint's ``meta`` that holds the identity, as a dict."""

PARTS = ('data_preprocessor', 'feature_encryption')
"""The parts of a model that encrypt images and feature maps. Each has a buffer ``protection``, the identity as text."""

_TEXT = re.compile(r'(\d{1,6}):([0-9a-f]{16}|reference):([A-Za-z0-9+/=,-]{1,300})')


@dataclass(frozen=True)
class Identity:
    """The public identity of a protected model.

    Args:
        key_id: 16 hex characters, or ``reference``.
        cipher: For example ``shuffle+negative-positive/M=4``. Where feature maps are encrypted too, their cipher
            follows after a comma: ``shuffle/M=4,feature-shuffle/stages=all/C=32-64-160-256``.
        spec_version: The version of the specification (docs/spec.md).

    Example:
        >>> identity = Identity('70a28782cc93edea', 'shuffle/M=4')
        >>> identity.to_meta()
        {'key_id': '70a28782cc93edea', 'cipher': 'shuffle/M=4', 'spec_version': 1}
        >>> Identity.from_meta(identity.to_meta()) == identity
        True
    """

    key_id: str
    cipher: str
    spec_version: int = SPEC_VERSION

    def to_meta(self) -> dict[str, Any]:
        """Return the identity as a dict for a checkpoint's ``meta``."""
        return asdict(self)

    def to_tensor(self) -> Tensor:
        """Return the text ``spec_version:key_id:cipher`` as a uint8 tensor (L,), for a state dict."""
        import torch

        return torch.tensor(list(f'{self.spec_version}:{self.key_id}:{self.cipher}'.encode()), dtype=torch.uint8)

    @classmethod
    def from_meta(cls, meta: Any) -> Identity | None:
        """Read what :meth:`~mmseg_keyprotect.keys.Identity.to_meta` wrote; None where there is nothing.

        Raises:
            DamagedFileError: There is something that is not an identity.
        """
        if meta is None:
            return None
        fields = (
            [str(meta.get(name)) for name in ('spec_version', 'key_id', 'cipher')] if isinstance(meta, Mapping) else []
        )
        return cls._parse(':'.join(fields))

    @classmethod
    def from_tensor(cls, text: Tensor | None) -> Identity | None:
        """Read what :meth:`~mmseg_keyprotect.keys.Identity.to_tensor` wrote; None where there is nothing.

        Raises:
            DamagedFileError: There is something that is not an identity.
        """
        if text is None:
            return None
        if text.is_floating_point():  # an average of state dicts has rounding errors
            text = text.round()
        return cls._parse(bytes(text.flatten()[:400].byte().tolist()).decode('ascii', errors='replace'))

    @classmethod
    def _parse(cls, text: str) -> Identity:
        match = _TEXT.fullmatch(text)
        if match is None:
            raise DamagedFileError(
                'Expected a checkpoint that names its spec version, key id and cipher, but what it holds there is '
                'damaged. Use another copy of the checkpoint.'
            )
        return cls(key_id=match[2], cipher=match[3], spec_version=int(match[1]))

    def check(self, found: Identity | None) -> None:
        """Compare this identity with the identity of a checkpoint.

        Args:
            found: The identity of the checkpoint; None where it has none.

        Raises:
            UnsupportedSpecError: The checkpoint has a newer spec version.
            WrongKeyError: The checkpoint belongs to another key or cipher, or to none.
        """
        if found is None:
            raise WrongKeyError(
                f'Expected a checkpoint protected with the key {self.key_id}, but got one that names no key: an '
                'unprotected model, or one whose entries have a prefix. Use an unprotected model without protection; '
                'take a prefix such as `module.` off all entries, as `load_checkpoint` of mmengine does. To fine-tune '
                'from an unprotected model on encrypted images, load it with `load_from` and set '
                "dict(type='KeyGuardHook', on_mismatch='warn') in custom_hooks."
            )
        if found.spec_version > SPEC_VERSION:
            raise UnsupportedSpecError(
                f'Expected a checkpoint of at most spec version {SPEC_VERSION}, but got version {found.spec_version}. '
                'Install a newer mmseg-keyprotect.'
            )
        if found != self:
            raise WrongKeyError(
                f'Expected a checkpoint of the key {self.key_id} and the cipher {self.cipher}, but got one of the key '
                f'{found.key_id} and the cipher {found.cipher}. Give the key and the cipher that it was trained with.'
            )


def identities_of(model: Any) -> dict[str, Identity]:
    """Return the identity of every part of a segmentor that encrypts, by the name of the part."""
    found = {name: getattr(getattr(model, name, None), 'identity', None) for name in PARTS}
    return {name: identity for name, identity in found.items() if identity is not None}


def joined(identities: Iterable[Identity]) -> Identity:
    """Return the identity of a whole model from the identities of its parts.

    Args:
        identities: At least one, in order; the ciphers are joined by commas.

    Raises:
        WrongKeyError: The parts have different keys.

    Example:
        >>> images, maps = Identity('70a28782cc93edea', 'shuffle/M=4'), Identity('70a28782cc93edea', 'feature-sign')
        >>> joined([images, maps]).cipher
        'shuffle/M=4,feature-sign'
    """
    first, *others = identities
    for other in others:
        if other.key_id != first.key_id:
            raise WrongKeyError(
                f'Expected one key for images and feature maps, but got {first.key_id} and {other.key_id}. Give both '
                'the same key, or leave feature_encryption.key out.'
            )
    return replace(first, cipher=','.join([first.cipher, *(other.cipher for other in others)]))
