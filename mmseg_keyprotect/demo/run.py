"""Protect and train a small model on drawn scenes, and measure the accuracy with and without its key."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmseg_keyprotect
from mmseg_keyprotect.config.edit import LOADERS, set_data_root, set_key_file
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.keys import SecretKey

CONFIGS = Path(mmseg_keyprotect.__file__).parent / '.mim' / 'configs' / 'segformer'
DEMO = CONFIGS / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'
CAMVID = CONFIGS / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160.py'


def run_demo(
    out: str | Path, data: str | None = None, config: str | None = None, wrong_keys: int = 5
) -> tuple[AccessReport, Path]:
    """Make a data set and a key, train a protected model on encrypted images, and evaluate it.

    Args:
        out: The folder for everything that the demonstration makes. The next run uses its data set and key again.
        data: The folder of CamVid. By default scenes are drawn.
        config: Another protected configuration for the same data.
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
    run = _new_run(out)
    print('1. data set and key')
    cfg = load_quietly(config or (CAMVID if data else DEMO))
    data = data or str(write_demo_scenes(out / 'scenes'))
    key_file = out / 'demo.key'
    if not key_file.exists():
        SecretKey.generate().save(key_file)
    print(f'   images: {data}\n   key: {key_file}, id {SecretKey.load(key_file).key_id}')

    set_data_root(cfg, data)
    set_key_file(cfg, str(key_file))
    cfg.work_dir = str(run)
    iterations = cfg.train_cfg.max_iters
    print(f'2. training on encrypted images, {iterations} iterations')
    with naming_missing_data(cfg, LOADERS), TaskProgress('   training', iterations) as progress:
        runner = Runner.from_cfg(cfg)
        runner.register_hook(_ProgressHook(progress))
        runner.train()
    print(f'   log: {run / runner.timestamp / runner.timestamp}.log')

    print('3. accuracy with the correct key, without a key, and with wrong keys')
    report = evaluate_access(cfg, str(run / f'iter_{iterations}.pth'), run / 'access', wrong_keys)
    return report, run / 'access'


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
