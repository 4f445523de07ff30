"""Fine-tune a bound model with denial, and keep its best state."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import find_model, kind_of
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed, without_scheme
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.fine_tuning.tuning import make_empty, tuning_config, work_in
from mmseg_keyprotect.fine_tuning.val_loop import check_counts
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.registered import HOOK, SEGMENTORS
from mmseg_keyprotect.session.processes import on_main_process

VALIDATIONS = 8
"""How often a fine-tuning is validated, by default."""
PATIENCE = 4
"""After so many validations without a better margin, the fine-tuning stops."""


def denial_config(
    cfg: Config,
    checkpoint: str | Path,
    iterations: int = 600,
    lr_scale: float = 0.2,
    wrong_keys: int = 8,
    images: int | None = None,
    amp: bool = False,
    **denial: Any,
) -> Config:
    """Return the configuration of a fine-tuning with denial.

    Args:
        cfg: The configuration of a bound model, which stays as it is.
        checkpoint: Its checkpoint.
        iterations: The number of iterations, at most.
        lr_scale: The learning rate is that of ``cfg`` times this number, and falls to 0.
        wrong_keys: The number of wrong keys in each validation.
        images: The number of images in each validation; None takes all.
        amp: Whether to train with automatic mixed precision, which mmengine does on a GPU.
        **denial: The options of :class:`~mmseg_keyprotect.models.denial.denial.Denial`.

    Raises:
        ConfigError: The model is not bound, or a number is out of range.
    """
    cfg = tuning_config(cfg, checkpoint, iterations, lr_scale, amp, ['val_dataloader'])
    model = find_model(cfg)
    if kind_of(model) not in SEGMENTORS.values():
        raise ConfigError(
            f'Expected a model with a block stem or encrypted feature maps, to train it with denial, but got '
            f'{kind_of(model)}. Bind it: keyprotect protect CONFIG CHECKPOINT -o FOLDER'
        )
    check_counts(wrong_keys, images)
    model['denial'] = {**(model.get('denial') or {}), **denial}
    cfg.train_cfg.val_interval = max(1, iterations // VALIDATIONS)
    cfg.val_cfg = dict(type='DenialValLoop', wrong_keys=wrong_keys, images=images)
    cfg.val_dataloader.sampler = dict(type='DefaultSampler', shuffle=images is not None, round_up=False)
    best = dict(save_best='margin', rule='greater')
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=-1, save_last=False, **best)
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='ValidateFirstHook'),
        dict(type='EarlyStoppingHook', monitor='margin', rule='greater', patience=PATIENCE),
    ]
    return cfg


def deny_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    folder: str | Path,
    seal: bool = False,
    hooks: Sequence[Hook] = (),
    **options: Any,
) -> dict[str, Any]:
    """Fine-tune a bound model with denial, and write its best state.

    The best state is that with the largest margin between the correct key and the best user without it, on the images
    of ``val_dataloader``, with wrong keys of their own; the state of the start is one of them. The optimizer and the
    data of the configuration are used. Several processes may run it, each of which calls this function.

    Args:
        cfg: The configuration of a bound model.
        checkpoint: Its checkpoint.
        folder: The folder to make: the configuration and the checkpoint under the names of the sources,
            ``denial.json``, and the logs in ``training``.
        seal: Whether to seal the checkpoint. One that is read from ``sealed://`` is always sealed again.
        hooks: More hooks of the training, for example to show how far it is.
        **options: See :func:`~mmseg_keyprotect.fine_tuning.deny.denial_config`.

    Returns:
        What ``denial.json`` holds: ``start`` and ``best``, the metrics of
        :class:`~mmseg_keyprotect.fine_tuning.val_loop.DenialValLoop` by their names; ``history``, those of every
        validation with its ``iteration``; and ``checkpoint``, as it loads.

    Raises:
        ConfigError: The model is not bound, the configuration has no training, or a number is out of range.
        WrongKeyError: The checkpoint belongs to another key, or to none.
        OutputError: The folder holds something, or cannot be made.

    Example:
        >>> from mmengine.config import Config                                        # doctest: +SKIP
        >>> cfg = Config.fromfile('bound/my_config.py')                               # doctest: +SKIP
        >>> found = deny_checkpoint(cfg, 'bound/my_model.pth', 'denied')              # doctest: +SKIP
        >>> found['best']['wrong_key']                                                # doctest: +SKIP
        3.4
    """
    folder, seal = Path(folder), seal or is_sealed(checkpoint)
    tuning = denial_config(cfg, checkpoint, **options)
    raise_problems(check_config(tuning))
    load_strictly(build_model(tuning), read_checkpoint(checkpoint)[0])  # every refusal comes before the folder
    on_main_process(make_empty, folder)
    work_in(tuning, folder)
    if seal:
        for hook in tuning.custom_hooks:
            if kind_of(hook) == HOOK:
                hook['seal'] = True
    with naming_missing_data(tuning, ('train_dataloader', 'val_dataloader')):
        runner = Runner.from_cfg(tuning)
        for hook in hooks:
            runner.register_hook(hook)
        runner.train()
    history = runner.val_loop.history
    kept = next(hook.best_ckpt_path for hook in runner.hooks if isinstance(hook, CheckpointHook))
    target = folder / Path(without_scheme(checkpoint)).name
    found = dict(
        start=history[0],
        best=max(history, key=lambda metrics: metrics['margin']),
        history=history,
        checkpoint=f'sealed://{target}' if seal else str(target),
    )
    if is_main_process():
        shutil.move(without_scheme(kept), target)
        cfg = Config(copy.deepcopy(cfg.to_dict()), filename=cfg.filename)
        find_model(cfg)['denial'] = find_model(tuning)['denial']
        replace_file(folder / Path(cfg.filename or 'config.py').name, cfg.pretty_text)
        replace_file(folder / 'denial.json', json.dumps(found, indent=1) + '\n')
    barrier()
    return found
