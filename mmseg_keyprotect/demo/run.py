"""Protect and train a small model on drawn scenes, and measure the accuracy with and without its key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

import mmseg_keyprotect
from mmseg_keyprotect.config.edit import set_data_root, set_key_file
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.evaluation.evaluate import REPORT, evaluate_access
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
        The access report, and the path of its HTML page.

    Raises:
        ConfigError: The configuration cannot be used.
        OutputError: The folder holds something else.

    Example:
        >>> report, page = run_demo('work_dirs/demo')  # doctest: +SKIP
    """
    out = Path(out)
    work_dir = out / datetime.now().strftime('%Y%m%d_%H%M%S')
    print('1. data set and key')
    cfg = Config.fromfile(config or (CAMVID if data else DEMO))
    data = data or str(write_demo_scenes(out / 'scenes'))
    key_file = out / 'demo.key'
    out.mkdir(parents=True, exist_ok=True)
    if not key_file.exists():
        SecretKey.generate().save(key_file)
    print(f'   images: {data}\n   key: {key_file}, id {SecretKey.load(key_file).key_id}')

    set_data_root(cfg, data)
    set_key_file(cfg, str(key_file))
    cfg.work_dir = str(work_dir)
    print(f'2. training on encrypted images, {cfg.train_cfg.max_iters} iterations')
    Runner.from_cfg(cfg).train()

    print('3. accuracy with the correct key, without a key, and with wrong keys')
    checkpoint = work_dir / f'iter_{cfg.train_cfg.max_iters}.pth'
    report = evaluate_access(cfg, str(checkpoint), work_dir / 'access', wrong_keys)
    return report, work_dir / 'access' / REPORT
