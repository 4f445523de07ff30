"""One cipher and one key must protect training, validation, testing and inference alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.channels import image_channels
from mmseg_keyprotect.config.checks.problems import Problems
from mmseg_keyprotect.config.datasets import find_chains
from mmseg_keyprotect.config.view import find_features, find_model, find_protections, kind_of
from mmseg_keyprotect.errors import ConfigError, KeyProtectError
from mmseg_keyprotect.registered import HOOK, PREPROCESSOR, TRANSFORM


def check_protected(cfg: Mapping[str, Any]) -> Problems:
    """The preprocessor must encrypt for every pipeline, or every pipeline must encrypt by the same cipher."""
    protections = find_protections(cfg)
    inner = find_model(cfg).get('data_preprocessor') or {}
    if not protections and kind_of(inner) == PREPROCESSOR:
        yield ConfigError(
            f'Expected {PREPROCESSOR} at the top level of the configuration too, but got an unprotected one there. '
            'mmengine gives that one to a model with test-time augmentation. Write data_preprocessor = dict(type='
            f"'{PREPROCESSOR}', cipher=...) and model = dict(data_preprocessor=data_preprocessor)."
        )
    elif not protections and not find_features(cfg):
        yield ConfigError(
            f'Expected a model protected by {PREPROCESSOR} or pipelines protected by {TRANSFORM}, but found neither. '
            f'Set model.data_preprocessor.type to {PREPROCESSOR}, or remove {HOOK} from custom_hooks.'
        )
    if not protections:
        return
    first = protections[0]
    for other in protections[1:]:
        if [dict(part) for part in other.parts] != [dict(part) for part in first.parts]:
            yield ConfigError(
                f'Expected one cipher everywhere, but {first.place} has {_describe(first.parts)} and {other.place} has '
                f'{_describe(other.parts)}. Give both the same.'
            )
    if first.place != 'model.data_preprocessor':
        plain = {chain.place for chain in find_chains(cfg) if TRANSFORM not in map(kind_of, chain.steps)}
        for path in sorted(plain):
            yield ConfigError(
                f'Expected {TRANSFORM} in every pipeline, since {first.place} has it, but {path} has none. '
                'Add the same step there.'
            )


def check_key(cfg: Mapping[str, Any]) -> Problems:
    """The key must load, fit the cipher, and be the same everywhere; the cipher must be strong for the images."""
    found: dict[str, str] = {}
    for protection in find_protections(cfg):
        try:
            cipher = KeyedCipher(**protection.cipher_arguments)
            cipher.cipher_for(image_channels(cfg))  # raises for a cipher that is weak for these images
            found.setdefault(cipher.key_id, protection.place)
        except KeyProtectError as error:
            yield error
            return
    if len(found) > 1:
        places = ', '.join(f'{key_id} in {place}' for key_id, place in found.items())
        yield ConfigError(f'Expected one key everywhere, but got {places}. Give all the same key.')


def _describe(parts: Sequence[Mapping[str, Any]]) -> str:
    return ' + '.join(f'{part.get("type")}(block_size={part.get("block_size")})' for part in parts)
