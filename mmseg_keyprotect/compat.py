"""What the pinned OpenMMLab stack needs on today's torch, and nothing else.

Every mend first looks whether it is needed; with full mmcv, or a torch before 2.6, it does nothing.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

# distribution names -> (the versions that work, the command that installs one of them)
_WANTED = {
    ('mmengine',): ('>=0.10.0,<1.0.0', 'pip install mmengine==0.10.7'),
    ('mmcv', 'mmcv-lite'): ('>=2.0.0,<2.2.0', 'pip install mmcv-lite==2.1.0'),
    ('mmsegmentation',): ('>=1.2.0,<2.0.0', 'pip install mmsegmentation==1.2.2'),
}


def check_versions() -> None:
    """Check the installed OpenMMLab packages, reading metadata only.

    Raises:
        ImportError: A version does not work; the message says what was found, what is wanted and the command.
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
        raise ImportError('mmseg-keyprotect cannot work with these versions:\n  ' + '\n  '.join(problems))


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
