"""MMSegmentation's own command lines, run with this package registered."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import mmseg
import torch

from mmseg_keyprotect.config.checks import check_leaks, raise_problems, refuse_leaks
from mmseg_keyprotect.config.view import load_quietly


def run_mmseg_tool(name: str, words: Sequence[str]) -> None:
    """Run ``tools/NAME.py`` of the installed MMSegmentation.

    A configuration that holds a key is refused here, before anything logs it or writes it to a work dir. Without a GPU
    ``--launcher pytorch`` joins the processes by gloo, where mmengine's own launcher stops.

    Args:
        name: ``train`` or ``test``.
        words: Its command line.

    Raises:
        LeakedKeyError: The command line, or the configuration that it names, holds a key.
    """
    words = list(words)
    refuse_leaks(words)
    for word in words:
        if word.endswith(('.py', '.json', '.yaml', '.yml')) and os.path.isfile(word):
            cfg = load_quietly(word)
            raise_problems(list(check_leaks(cfg.to_dict(), cfg.env_variables)))
            break
    if '--launcher' in words and 'pytorch' in words and not torch.cuda.is_available():
        join_processes()
        words = wrapped_on_the_cpu(words)
    script = Path(mmseg.__file__).parent / '.mim' / 'tools' / f'{name}.py'
    sys.argv = [str(script), *words]
    runpy.run_path(str(script), run_name='__main__')


def join_processes() -> None:
    """Join this process to the others that torchrun has started: by NCCL where there is a GPU, else by gloo."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    torch.distributed.init_process_group('nccl' if cuda else 'gloo')


def wrapped_on_the_cpu(words: Sequence[str]) -> list[str]:
    """Return a command line by which mmengine wraps a model that lies on the CPU."""
    words = list(words)
    if '--cfg-options' not in words:
        words.append('--cfg-options')
    words.insert(words.index('--cfg-options') + 1, 'model_wrapper_cfg.device_ids=None')
    return words
