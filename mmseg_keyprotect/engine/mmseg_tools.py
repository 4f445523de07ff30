"""Run MMSegmentation's own command lines with this package registered."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import mmseg
import torch

from mmseg_keyprotect.config.checks import check_config, check_leaks, raise_problems, refuse_leaks
from mmseg_keyprotect.config.edit import override
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import kind_of, load_quietly
from mmseg_keyprotect.config_files import config_file
from mmseg_keyprotect.registered import HOOK

WRAPPER_DEVICES = 'model_wrapper_cfg.device_ids'
"""The setting that must be None where mmengine wraps a model on the CPU for several processes."""

_LOADERS = dict(train=('train_dataloader', 'val_dataloader'), test=('test_dataloader',))


def run_mmseg_tool(name: str, config: str, words: Sequence[str], options: Mapping[str, Any] | None = None) -> None:
    """Run ``tools/NAME.py`` of the installed MMSegmentation in this process.

    A configuration that holds a key is refused before anything logs it or writes it to a work dir. All else that the
    hook would refuse, a missing key among it, is refused before the model is built. Without a GPU,
    ``--launcher pytorch`` joins the processes by gloo, since mmengine's own launcher fails there.

    Args:
        name: ``train`` or ``test``.
        config: The configuration file; or ``mmseg::NAME``, which that script does not know.
        words: The arguments of that script, ``config`` among them.
        options: What ``--cfg-options`` among the words overrides.

    Raises:
        LeakedKeyError: The arguments, or the configuration that they name, hold a key.
        MissingFileError: There is no such configuration file, or its data is missing.
        ConfigError: The configuration cannot be loaded, or has several problems.
        KeyProtectError: The configuration has one problem.
    """
    refuse_leaks(words)
    cfg = load_quietly(config)
    raise_problems(list(check_leaks(cfg.to_dict(), cfg.env_variables)))
    override(cfg, options or {})
    if HOOK in map(kind_of, cfg.get('custom_hooks') or []):
        raise_problems(check_config(cfg))
    words = [str(config_file(config)) if word == config else word for word in words]
    if _uses_torchrun(words) and not torch.cuda.is_available():
        join_processes()
        words = wrapped_on_the_cpu(words)
    script = str(Path(mmseg.__file__).parent / '.mim' / 'tools' / f'{name}.py')
    before, sys.argv = sys.argv, [script, *words]
    try:
        with naming_missing_data(cfg, _LOADERS[name]):
            runpy.run_path(script, run_name='__main__')
    finally:
        sys.argv = before


def join_processes() -> None:
    """Join the processes that torchrun has started, by NCCL where there is a GPU, else by gloo."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    torch.distributed.init_process_group('nccl' if cuda else 'gloo')


def wrapped_on_the_cpu(words: Sequence[str]) -> list[str]:
    """Return the arguments with the option that lets mmengine wrap a model on the CPU for several processes."""
    words = list(words)
    if '--cfg-options' not in words:
        words.append('--cfg-options')
    words.insert(words.index('--cfg-options') + 1, f'{WRAPPER_DEVICES}=None')
    return words


def _uses_torchrun(words: Sequence[str]) -> bool:
    return '--launcher=pytorch' in words or ('--launcher', 'pytorch') in pairwise(words)
