"""Version checks, workarounds for the OpenMMLab stack on today's torch, and registration with MMSegmentation.

Each workaround first checks that it is needed. With a full mmcv, that for its operators does nothing.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

from mmseg_keyprotect.errors import MissingDependencyError
from mmseg_keyprotect.registered import REGISTERED

# (name of the distribution, the versions that work, the command that installs one of them)
_WANTED = (
    ('torch', '>=2.6', 'pip install torch==2.13.0'),
    ('mmengine', '>=0.10.0,<1.0.0', 'pip install mmengine==0.10.7'),
    ('mmcv', '>=2.0.0,<2.2.0', 'pip install mmcv-lite==2.1.0'),
    ('mmcv-lite', '>=2.0.0,<2.2.0', 'pip install mmcv-lite==2.1.0'),
    ('mmsegmentation', '>=1.2.0,<2.0.0', 'pip install mmsegmentation==1.2.2'),
)

# mmcv, and the modules that the extra `mmseg` installs
_MODULES = ('torch', 'mmengine', 'mmcv', 'mmseg', 'ftfy', 'regex', 'jinja2', 'matplotlib', 'prettytable', 'scipy')

_INSTALL = "pip install 'mmseg-keyprotect[mmseg,mmcv-lite]', or 'mmseg-keyprotect[mmseg]' beside a full mmcv"


def require_mmseg() -> None:
    """Check that everything that models, training and reports need is installed.

    The check reads metadata and finds modules, but imports none.

    Raises:
        MissingDependencyError: A package is missing, or its version does not work. The message names it and the
            command that installs it.
    """
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'Expected MMSegmentation and the packages that it needs, but got an installation for clients without '
            f'{", ".join(missing)}. Install them: {_INSTALL}.'
        )
    check_versions()


def check_versions() -> None:
    """Check the versions of torch and the installed OpenMMLab packages. Only metadata is read.

    A package that is not installed is not checked: it may be a fork under another name. Torch before 2.6 can be made to
    run the code of a checkpoint in spite of ``weights_only`` (CVE-2025-32434).

    Raises:
        MissingDependencyError: A version does not work. The message names the version that was found, those that
            work, and the command that installs one of them.
    """
    from packaging.specifiers import SpecifierSet

    problems = []
    for name, wanted, command in _WANTED:
        found = _version_of(name)
        if found is not None and not SpecifierSet(wanted, prereleases=True).contains(found):
            problems.append(f'found {name} {found}, wanted {name}{wanted}: {command}')
    if problems:
        raise MissingDependencyError('mmseg-keyprotect cannot work with these versions:\n  ' + '\n  '.join(problems))


def _version_of(name: str) -> str | None:
    """Return the version of a distribution; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def register() -> None:
    """Apply the workarounds, then import every module that registers types with MMSegmentation.

    ``import mmseg`` calls this. Keys, ciphers, images and sealing must work beside any installation, so that no
    failure stops the import: a warning gives the reason, and building one of the types of this package from a
    configuration raises :class:`~mmseg_keyprotect.errors.MissingDependencyError`.
    """
    try:
        check_versions()
        apply()
        for name in ('datasets', 'models', 'engine', 'fine_tuning'):
            import_module(f'mmseg_keyprotect.{name}')
    except Exception as error:  # a broken package can raise anything as it is imported
        reason = str(error)
        if not isinstance(error, MissingDependencyError):
            reason = (
                f'Expected a working installation of MMSegmentation, but got {type(error).__name__}: {reason}. '
                'Reinstall the package that raises it.'
            )
        warnings.warn(f'mmseg-keyprotect is not registered. {reason}', stacklevel=2)
        _register_refusals(reason, error)


def _register_refusals(reason: str, cause: Exception) -> None:
    """Register functions that raise under the names of the types of this package."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise MissingDependencyError(reason) from cause

    try:
        registries = import_module('mmseg.registry')
    except Exception:  # MMSegmentation is broken as well: nothing can be built from a configuration
        return
    for registry, names in REGISTERED.items():
        for name in names:
            getattr(registries, registry).register_module(name=name, module=refuse, force=True)


def apply() -> None:
    """Apply every workaround that this installation needs."""
    _provide_mmcv_ext()
    _fuse_block_stems()
    _find_configs_of_a_fork()


class _NoOps(ModuleType):
    """A substitute for the compiled operators of mmcv, which mmcv-lite lacks."""

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_op(*args: object, **kwargs: object) -> NoReturn:
            raise NotImplementedError(
                f'Expected the compiled mmcv operator {name!r}, but got mmcv-lite, which has none. '
                'Install full mmcv: MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0'
            )

        return missing_op


def _provide_mmcv_ext() -> None:
    """Let mmseg import ``mmcv.ops`` where mmcv-lite is installed. Only a call of an operator fails."""
    if 'mmcv._ext' not in sys.modules and find_spec('mmcv._ext') is None:
        substitute = _NoOps('mmcv._ext')
        substitute.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # tells mmengine that mmcv is not full
        sys.modules['mmcv._ext'] = substitute


def _fuse_block_stems() -> None:
    """Let mmcv's ``fuse_conv_bn`` fuse a block stem, which has several output channels for each one of the norm."""
    module: Any = import_module('mmcv.cnn.utils.fuse_conv_bn')
    fuse = module._fuse_conv_bn

    def fuse_conv_bn(conv: Any, bn: Any) -> Any:
        return conv.fused_with(bn) if hasattr(conv, 'fused_with') else fuse(conv, bn)

    if fuse.__module__ != __name__:
        module._fuse_conv_bn = fuse_conv_bn


def _find_configs_of_a_fork() -> None:
    """Let ``mmseg::NAME`` name a config of onedl-mmsegmentation, which mmengine looks for as mmsegmentation."""
    from mmengine.config import utils

    if _version_of('mmsegmentation') is None and utils.MODULE2PACKAGE.get('mmseg') == 'mmsegmentation':
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'  # the fork of mmengine then finds the module
