"""Run MMSegmentation's own command lines with this package registered."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import mmseg
import torch

from mmseg_keyprotect.config.checks import check_leaks, raise_problems, refuse_leaks
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.errors import MissingFileError

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def run_mmseg_tool(name: str, words: Sequence[str]) -> None:
    """Run ``tools/NAME.py`` of the installed MMSegmentation in this process.

    A configuration that holds a key is refused before anything logs it or writes it to a work dir. Without a GPU,
    ``--launcher pytorch`` joins the processes by gloo, since mmengine's own launcher fails there.

    Args:
        name: ``train`` or ``test``.
        words: The arguments of that script.

    Raises:
        LeakedKeyError: The arguments, or the configuration that they name, hold a key.
        MissingFileError: The arguments name no configuration file that exists.
    """
    words = list(words)
    refuse_leaks(words)
    cfg = load_quietly(_config_among(words))
    raise_problems(list(check_leaks(cfg.to_dict(), cfg.env_variables)))
    if _uses_torchrun(words) and not torch.cuda.is_available():
        join_processes()
        words = wrapped_on_the_cpu(words)
    script = str(Path(mmseg.__file__).parent / '.mim' / 'tools' / f'{name}.py')
    before, sys.argv = sys.argv, [script, *words]
    try:
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
    words.insert(words.index('--cfg-options') + 1, 'model_wrapper_cfg.device_ids=None')
    return words


def _config_among(words: Sequence[str]) -> str:
    """Return the configuration file that the arguments name: the first that exists."""
    named = [word for word in words if word.endswith(_SUFFIXES)]
    for word in named:
        if os.path.isfile(word):
            return word
    raise MissingFileError(
        f'Expected a configuration file, but {" ".join(named[:1]) or "the command line"} '
        f'{"does not exist" if named else "names none"}. Check the path.'
    )


def _uses_torchrun(words: Sequence[str]) -> bool:
    return '--launcher=pytorch' in words or ('--launcher', 'pytorch') in pairwise(words)
