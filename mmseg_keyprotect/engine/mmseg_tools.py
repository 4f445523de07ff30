"""MMSegmentation's own command lines, run with this package registered."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import mmseg
import torch

from mmseg_keyprotect.engine.config_check import check_leaks, raise_problems
from mmseg_keyprotect.engine.pipelines import load_quietly
from mmseg_keyprotect.errors import KeyProtectError


def run_mmseg_tool(name: str) -> None:
    """Run ``tools/NAME.py`` of the installed MMSegmentation on this process's command line.

    A configuration that holds a key is refused here, before anything logs it or writes it to a work dir. Without a GPU
    ``--launcher pytorch`` joins the processes by gloo, where mmengine's own launcher stops.

    Args:
        name: ``train`` or ``test``.
    """
    try:
        _refuse_leaks(sys.argv[1:])
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    if 'pytorch' in sys.argv and '--launcher' in sys.argv and not torch.cuda.is_available():
        join_processes()
        _wrap_on_the_cpu()
    runpy.run_path(str(Path(mmseg.__file__).parent / '.mim' / 'tools' / f'{name}.py'), run_name='__main__')


def _refuse_leaks(words: list[str]) -> None:
    """Look for a key on the command line and in the configuration that it names."""
    raise_problems(list(check_leaks({'the command line': words}, {})))
    for word in words:
        if word.endswith(('.py', '.json', '.yaml', '.yml')) and os.path.isfile(word):
            cfg = load_quietly(word)
            raise_problems(list(check_leaks(cfg.to_dict(), cfg.env_variables)))
            return


def join_processes() -> None:
    """Join this process to the others that torchrun has started: by NCCL where there is a GPU, else by gloo."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    torch.distributed.init_process_group('nccl' if cuda else 'gloo')


def _wrap_on_the_cpu() -> None:
    """Let mmengine wrap a model that lies on the CPU."""
    if '--cfg-options' not in sys.argv:
        sys.argv.append('--cfg-options')
    sys.argv.insert(sys.argv.index('--cfg-options') + 1, 'model_wrapper_cfg.device_ids=None')
