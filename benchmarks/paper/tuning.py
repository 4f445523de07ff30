"""Fine-tune a model as whoever has its file would: without any key, on images of the owner's training set."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from benchmarks.paper.cells import load_config
from mmseg_keyprotect.fine_tuning.tuning import tuning_config

LR_SCALE = 0.2
"""Of the learning rate of the config, as in `keyprotect watermark` and `keyprotect deny`."""


def plain_tuning(
    config: Path, source: Path, iterations: int, seed: int, lr_scale: float = LR_SCALE, images: int | None = None
) -> Config:
    """Return the configuration of a fine-tuning that saves the last state, and does not validate.

    Args:
        config: Config file of the plain model.
        source: Its checkpoint.
        iterations: Number of iterations.
        seed: Seed of the training.
        lr_scale: Of the learning rate of the config.
        images: Number of training images, the first ones. Default: all.
    """
    cfg = tuning_config(load_config(config), source, iterations, lr_scale)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=iterations)
    cfg.randomness = dict(seed=seed)
    if images is not None:
        cfg.train_dataloader.dataset.indices = images
    return cfg
