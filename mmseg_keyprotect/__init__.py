"""mmseg-keyprotect binds MMSegmentation models to a secret key.

``import mmseg_keyprotect``, before or after mmseg, registers every transform, preprocessor and hook of the package.
The registration itself waits until mmseg is imported, so that the client side (``mmseg_keyprotect.keys`` and
``mmseg_keyprotect.ciphers``) loads neither torch nor OpenMMLab, and works where they are not installed.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from mmseg_keyprotect.version import SPEC_VERSION, __version__

__all__ = ['SPEC_VERSION', '__version__']


def _register(mmseg: ModuleType) -> None:
    """Mend what the stack needs, then import all that registers itself with mmseg."""
    from mmseg_keyprotect import compat

    compat.apply()
    for name in ('datasets', 'models', 'engine'):
        import_module(f'mmseg_keyprotect.{name}')


if find_spec('mmseg') is not None:
    try:
        from wrapt import register_post_import_hook
    except ImportError:
        raise ImportError(
            'Expected what mmseg-keyprotect needs beside MMSegmentation, but it is not installed. Install it: '
            "pip install 'mmseg-keyprotect[mmseg]'"
        ) from None

    from mmseg_keyprotect.compat import check_versions

    check_versions()
    register_post_import_hook(_register, 'mmseg')
