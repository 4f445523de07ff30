"""Train a small model on drawn scenes, bind it to a key, and measure the accuracy with and without the key."""

from __future__ import annotations

import copy
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmseg_keyprotect
from mmseg_keyprotect.config.edit import LOADERS, set_data_root, set_key_file
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.protect import protected as protected_copy
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.fine_tuning import deny_checkpoint
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.protection import protect_checkpoint

CONFIGS = Path(mmseg_keyprotect.__file__).parent / '.mim' / 'configs' / 'segformer'
DEMO = CONFIGS / 'segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
CAMVID = CONFIGS / 'segformer_mit-b0_1xb8-0.4k_camvid-160x160.py'
ITERATIONS, DENIAL_ITERATIONS = 200, 120
"""Iterations on drawn scenes, and those of denial on any data; other data is trained for as long as the config says."""


def run_demo(
    out: str | Path, data: str | None = None, config: str | None = None, wrong_keys: int = 5
) -> tuple[AccessReport, Path]:
    """Train a plain model, bind it to a key, let it deny users without the key, and evaluate it.

    Args:
        out: The folder for everything that the demonstration makes. The next run uses its data set and key again.
        data: The folder of CamVid. By default scenes are drawn.
        config: Another unprotected configuration for the same data.
        wrong_keys: How many random wrong keys to evaluate.

    Returns:
        The access report, and the folder that holds its page and its pictures.

    Raises:
        ConfigError: The configuration cannot be used.
        OutputError: The folder holds something else.

    Example:
        >>> report, folder = run_demo('work_dirs/demo')  # doctest: +SKIP
    """
    out = Path(out)
    cfg = load_quietly(config or (CAMVID if data else DEMO))
    protected_copy(cfg.to_dict())  # refuses what cannot be bound before it is trained
    run = _new_run(out)
    print('1. data set and key')
    if not (data or config):
        _shorten(cfg, ITERATIONS)
    data = data or str(write_demo_scenes(out / 'scenes'))
    key_file = out / 'demo.key'
    if not key_file.exists():
        SecretKey.generate().save(key_file)
    print(f'   images: {data}\n   key: {key_file}, id {SecretKey.load(key_file).key_id}')
    set_data_root(cfg, data)

    print(f'2. a plain model, {cfg.train_cfg.max_iters} iterations')
    plain = run / 'plain' / 'plain.py', _train(cfg, run / 'plain')
    cfg.dump(plain[0])

    print('3. the same model, bound to the key: keyprotect protect')
    key = dict(type='KeyFile', path=str(key_file))
    bound_config, bound = protect_checkpoint(*plain, run / 'bound', key=key)

    print(f'4. users without the key are denied, {DENIAL_ITERATIONS} iterations: keyprotect deny')
    protected = load_quietly(bound_config)
    set_key_file(protected, str(key_file))
    # the images of the training choose the best state, since those of the validation are in the report
    protected.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
    options: dict[str, Any] = dict(iterations=DENIAL_ITERATIONS, wrong_keys=2, images=6)
    with TaskProgress('   training', DENIAL_ITERATIONS) as progress:
        denied = deny_checkpoint(protected, bound, run / 'denied', hooks=[_ProgressHook(progress)], **options)

    print('5. accuracy with the correct key, without a key, and with wrong keys: keyprotect evaluate')
    baseline = load_quietly(plain[0]), str(plain[1])
    report = evaluate_access(protected, denied['checkpoint'], run / 'access', wrong_keys, baseline, draws=2)
    return report, run / 'access'


def _train(cfg: Config, folder: Path) -> Path:
    """Train a model, and return its checkpoint."""
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    cfg.work_dir = cfg.visualizer.name = str(folder)  # mmengine keeps visualizers by name, with their folders
    iterations = cfg.train_cfg.max_iters
    with naming_missing_data(cfg, LOADERS), TaskProgress('   training', iterations) as progress:
        runner = Runner.from_cfg(cfg)
        runner.register_hook(_ProgressHook(progress))
        runner.train()
    print(f'   log: {folder / runner.timestamp / runner.timestamp}.log')
    return folder / f'iter_{iterations}.pth'


def _shorten(cfg: Config, iterations: int) -> None:
    """Train for fewer iterations than a configuration says; the learning rate still falls to its end."""
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    cfg.default_hooks.checkpoint.interval = iterations
    cfg.param_scheduler[-1].end = iterations


class _ProgressHook(Hook):
    """Shows how far the training is, and its loss."""

    def __init__(self, progress: TaskProgress) -> None:
        self.progress = progress

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count an iteration."""
        self.progress.advance(f'loss {float((outputs or {})["loss"].detach()):.2f}')


def _new_run(out: Path) -> Path:
    """Make the folder of a run, which no other run has: mmengine puts a folder with the time into it."""
    for number in count(1):
        try:
            (out / f'run_{number}').mkdir(parents=True)
        except FileExistsError:
            continue
        return out / f'run_{number}'
    raise AssertionError('numbers do not end')
