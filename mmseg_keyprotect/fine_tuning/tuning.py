"""The configuration of a fine-tuning, as all fine-tunings of this package begin."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmseg_keyprotect.errors import ConfigError, OutputError
from mmseg_keyprotect.files import make_folder


def tuning_config(
    cfg: Config, checkpoint: str | Path, iterations: int, lr_scale: float, amp: bool = False, needs: Sequence[str] = ()
) -> Config:
    """Return the configuration of a fine-tuning, on the data and with the optimizer of a configuration.

    Args:
        cfg: The configuration of the model, which stays as it is.
        checkpoint: Its checkpoint.
        iterations: The number of iterations.
        lr_scale: The learning rate is that of ``cfg`` times this number, and falls to 0.
        amp: Whether to train with automatic mixed precision, which mmengine does on a GPU.
        needs: What ``cfg`` must have beside what a training needs.

    Raises:
        ConfigError: The configuration has no training, or a number is out of range.
    """
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    for name in ('train_dataloader', 'optim_wrapper', *needs):
        if not cfg.get(name):
            raise ConfigError(f'Expected a configuration with {name}, to fine-tune the model, but got none. Add it.')
    if 'lr' not in (cfg.optim_wrapper.get('optimizer') or {}):
        raise ConfigError(
            'Expected optim_wrapper.optimizer with a learning rate `lr`, which the fine-tuning scales, but got none. '
            'Set it.'
        )
    if iterations < 1 or not lr_scale > 0:
        raise ConfigError(
            f'Expected at least 1 iteration and a learning rate above 0, but got {iterations} and {lr_scale} times '
            'that of the configuration. Set larger ones.'
        )
    cfg.load_from, cfg.resume = str(checkpoint), False
    cfg.optim_wrapper.optimizer.lr *= lr_scale
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, begin=0, end=iterations, by_epoch=False)]
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='FoldedNormsHook')]
    return cfg


def work_in(cfg: Config, folder: Path) -> None:
    """Make a configuration write its logs to the folder ``training`` inside of a folder."""
    cfg.work_dir = str(folder / 'training')
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.work_dir  # mmengine keeps visualizers by name, with their folders


def make_empty(folder: Path) -> None:
    """Make a folder, or accept an empty one.

    Raises:
        OutputError: It holds something, or cannot be made.
    """
    if found := make_folder(folder):
        raise OutputError(f'Expected an empty folder, but {folder} holds {found[0]}. Name another with -o.')
