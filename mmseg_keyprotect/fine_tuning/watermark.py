"""Fine-tune a plain model, so that it answers images encrypted with the owner's key as plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import encrypts, find_model, kind_of
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.fine_tuning.tuning import make_empty, tuning_config, work_in
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.registered import WATERMARK


def watermark_config(
    cfg: Config,
    checkpoint: str | Path,
    iterations: int = 300,
    lr_scale: float = 0.2,
    share: float = 0.25,
    cipher: CipherConfig = DEFAULT_CIPHER,
    key: Any = None,
) -> Config:
    """Return the configuration of a fine-tuning with a watermark.

    Args:
        cfg: The configuration of a plain model, which stays as it is.
        checkpoint: Its checkpoint.
        iterations: The number of iterations.
        lr_scale: The learning rate is that of ``cfg`` times this number, and falls to 0.
        share: The share of the training images that is encrypted.
        cipher: The cipher's configuration.
        key: The key's configuration.

    Raises:
        ConfigError: The model encrypts, the configuration has no training, or a number is out of range.
    """
    found = kind_of(find_model(cfg).get('data_preprocessor') or {})
    if encrypts(cfg) or found != 'SegDataPreProcessor':
        raise ConfigError(
            f'Expected a plain model with SegDataPreProcessor, to give it a watermark, but got one with {found}. Give '
            'it the watermark first, and bind it after that.'
        )
    cfg = tuning_config(cfg, checkpoint, iterations, lr_scale)
    find_model(cfg)['data_preprocessor'].update(type=WATERMARK, share=share, cipher=cipher, key=key)
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=-1, save_last=True)
    return cfg


def watermark_checkpoint(
    cfg: Config, checkpoint: str | Path, folder: str | Path, hooks: Sequence[Hook] = (), **options: Any
) -> Path:
    """Fine-tune a plain model with a watermark, and write the model without a trace of the key's name.

    Args:
        cfg: The configuration of a plain model.
        checkpoint: Its checkpoint.
        folder: The folder to make: the configuration and the checkpoint under the names of the sources, and the logs in
            ``training``, which are for the owner alone: they name the key file.
        hooks: More hooks of the training.
        **options: See :func:`~mmseg_keyprotect.fine_tuning.watermark.watermark_config`.

    Returns:
        The path of the checkpoint. It loads into the plain model, and needs no key.

    Raises:
        ConfigError: See :func:`~mmseg_keyprotect.fine_tuning.watermark.watermark_config`.
        OutputError: The folder holds something, or cannot be made.
    """
    folder = Path(folder)
    tuning = watermark_config(cfg, checkpoint, **options)
    state, meta = read_checkpoint(checkpoint)
    load_strictly(build_model(tuning), state)  # every refusal comes before the folder
    make_empty(folder)
    work_in(tuning, folder)
    with naming_missing_data(tuning, ('train_dataloader',)):
        runner = Runner.from_cfg(tuning)
        for hook in hooks:
            runner.register_hook(hook)
        runner.train()
    (saved,) = Path(tuning.work_dir).glob('iter_*.pth')
    target = folder / Path(checkpoint).name
    torch.save(dict(meta=meta, state_dict=read_checkpoint(saved)[0]), target)
    saved.unlink()
    (saved.parent / 'last_checkpoint').unlink(missing_ok=True)
    replace_file(folder / Path(cfg.filename or 'config.py').name, cfg.pretty_text)
    return target
