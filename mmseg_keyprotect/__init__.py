"""mmseg-keyprotect binds MMSegmentation models to a secret key.

``import mmseg_keyprotect``, before or after mmseg, registers every transform, preprocessor, model and hook of the
package. The registration waits until mmseg is imported, so that keys, ciphers, images and sealing load neither torch
nor OpenMMLab, and work beside any version of them. The public names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

from mmseg_keyprotect.version import SPEC_VERSION, __version__

if TYPE_CHECKING:
    from mmseg_keyprotect.audit import run_audit as run_audit
    from mmseg_keyprotect.ciphers import KeyedCipher as KeyedCipher
    from mmseg_keyprotect.ciphers import build_cipher as build_cipher
    from mmseg_keyprotect.config import protect_config as protect_config
    from mmseg_keyprotect.errors import KeyProtectError as KeyProtectError
    from mmseg_keyprotect.evaluation import evaluate_access as evaluate_access
    from mmseg_keyprotect.fine_tuning import deny_checkpoint as deny_checkpoint
    from mmseg_keyprotect.images import Encryptor as Encryptor
    from mmseg_keyprotect.keys import SecretKey as SecretKey
    from mmseg_keyprotect.keys import build_key as build_key
    from mmseg_keyprotect.protection import protect_checkpoint as protect_checkpoint
    from mmseg_keyprotect.protection import rekey_checkpoint as rekey_checkpoint
    from mmseg_keyprotect.sealing import open_sealed as open_sealed
    from mmseg_keyprotect.sealing import seal_file as seal_file
    from mmseg_keyprotect.sealing import unseal_file as unseal_file

_PUBLIC = {
    'SecretKey': 'keys',
    'build_key': 'keys',
    'KeyedCipher': 'ciphers',
    'build_cipher': 'ciphers',
    'Encryptor': 'images',
    'open_sealed': 'sealing',
    'seal_file': 'sealing',
    'unseal_file': 'sealing',
    'protect_config': 'config',
    'protect_checkpoint': 'protection',
    'rekey_checkpoint': 'protection',
    'deny_checkpoint': 'fine_tuning',
    'evaluate_access': 'evaluation',
    'run_audit': 'audit',
    'KeyProtectError': 'errors',
}
"""The module of every public name; docs/stability.md says what is promised about them."""

__all__ = ['SPEC_VERSION', '__version__', *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_PUBLIC[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register(mmseg: ModuleType) -> None:
    from mmseg_keyprotect import compat

    compat.register()


register_post_import_hook(_register, 'mmseg')
