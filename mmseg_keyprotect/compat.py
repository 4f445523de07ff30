"""What the pinned OpenMMLab stack needs on today's torch, and nothing else.

Every mend first looks whether it is needed; with full mmcv, or a torch before 2.6, it does nothing.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

from mmseg_keyprotect.errors import MissingDependencyError

# distribution names -> (the versions that work, the command that installs one of them)
_WANTED = {
    ('mmengine',): ('>=0.10.0,<1.0.0', 'pip install mmengine==0.10.7'),
    ('mmcv', 'mmcv-lite'): ('>=2.0.0,<2.2.0', 'pip install mmcv-lite==2.1.0'),
    ('mmsegmentation',): ('>=1.2.0,<2.0.0', 'pip install mmsegmentation==1.2.2'),
}


CLIENT_ONLY = (
    "pip install 'mmseg-keyprotect[mmseg,mmcv-lite]' (beside a full mmcv that is there: 'mmseg-keyprotect[mmseg]')"
)
"""How to install what a client lacks."""

_MODULES = ('torch', 'mmengine', 'mmcv', 'mmseg', 'ftfy', 'regex', 'jinja2', 'matplotlib', 'prettytable', 'scipy')
"""What the extra ``mmseg`` brings, and mmcv, by the names of modules."""

_REGISTERED = {
    'MODELS': (
        'BlockStem',
        'DilatedMobileNetV2',
        'KeyedCascadeEncoderDecoder',
        'KeyedEncoderDecoder',
        'KeyedSegDataPreProcessor',
        'TiedBlockStem',
    ),
    'TRANSFORMS': ('KeyedBlockEncrypt', 'LoadEncryptedImage'),
    'HOOKS': ('KeyGuardHook',),
}
"""What the package registers, by registry of mmseg."""


def require_mmseg() -> None:
    """Check that all that models, training and reports need is installed.

    Raises:
        MissingDependencyError: A package is missing, or its version does not work; the message says which, and the
            command that installs it.
    """
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'Expected MMSegmentation and what goes with it, but {", ".join(missing)} are not installed: this is the '
            f'client alone. Install the rest: {CLIENT_ONLY}.'
        )
    check_versions()


def check_versions() -> None:
    """Check the installed OpenMMLab packages, reading metadata only.

    Raises:
        MissingDependencyError: A version does not work; the message says what was found, what is wanted and the
            command.
    """
    from packaging.specifiers import SpecifierSet

    problems = []
    for names, (wanted, command) in _WANTED.items():
        for name in names:
            try:
                found = version(name)
            except PackageNotFoundError:  # not installed, or a fork under another name
                continue
            if not SpecifierSet(wanted, prereleases=True).contains(found):
                problems.append(f'found {name} {found}, wanted {name}{wanted}: {command}')
    if problems:
        raise MissingDependencyError('mmseg-keyprotect cannot work with these versions:\n  ' + '\n  '.join(problems))


def register() -> None:
    """Apply what the stack needs, then import all that registers itself with mmseg; called as mmseg is imported.

    Where that fails, the import of mmseg goes on: a warning says why, and building one of our classes from a
    configuration raises MissingDependencyError.
    """
    try:
        check_versions()
        apply()
        for name in ('datasets', 'models', 'engine'):
            import_module(f'mmseg_keyprotect.{name}')
    except ImportError as error:
        _register_refusals(str(error))


def _register_refusals(reason: str) -> None:
    """Register, under the names of our classes, functions that raise."""
    import mmseg.registry

    warnings.warn(f'mmseg-keyprotect is not registered. {reason}', stacklevel=2)

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise MissingDependencyError(reason)

    for registry, names in _REGISTERED.items():
        for name in names:
            getattr(mmseg.registry, registry).register_module(name=name, module=refuse, force=True)


def apply() -> None:
    """Apply every mend that this installation needs."""
    _stand_in_for_mmcv_ext()
    _allow_mmengine_globals()


class _NoOps(ModuleType):
    """Stands in for the compiled operators of mmcv, which mmcv-lite lacks."""

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_op(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(
                f'Expected the compiled mmcv operator {name!r}, but got mmcv-lite, which has none. '
                'Install full mmcv: MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0'
            )

        return missing_op


def _stand_in_for_mmcv_ext() -> None:
    """Let mmseg import ``mmcv.ops`` where mmcv-lite is installed; only calling an operator fails."""
    if 'mmcv._ext' not in sys.modules and find_spec('mmcv._ext') is None:
        stand_in = _NoOps('mmcv._ext')
        stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # by which mmengine sees that mmcv is not full
        sys.modules['mmcv._ext'] = stand_in


def _mmengine_getattr(owner: object, name: str) -> object:
    """Serve the only attribute that mmengine's message hub looks up while unpickling."""
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise AttributeError(f'Expected a statistics method of HistoryBuffer in a checkpoint, but got {name!r}.')


def _allow_mmengine_globals() -> None:
    """Let ``torch.load(weights_only=True)``, the default since torch 2.6, read mmengine's message hub."""
    import torch
    from packaging.version import Version

    if Version(torch.__version__) < Version('2.6'):
        return
    import numpy as np
    from mmengine.logging import HistoryBuffer

    dtypes = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'bool')}
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, *dtypes, (_mmengine_getattr, 'builtins.getattr')]
    )
