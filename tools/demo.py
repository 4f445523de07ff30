"""Protect and train a small model, then show what it gives with the key, without it, and with wrong keys."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.datasets.demo_scenes import write_demo_scenes
from mmseg_keyprotect.engine.pipelines import set_data_root, set_key_file
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.evaluation.evaluate import REPORT, evaluate_access
from mmseg_keyprotect.keys import SecretKey

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'segformer'
DEMO = CONFIGS / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'
CAMVID = CONFIGS / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160.py'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', help='folder of CamVid; default: draw a small data set')
    parser.add_argument('--config', help='another protected config, for the same data')
    parser.add_argument('--wrong-keys', type=int, default=5, help='how many fresh random keys to try')
    parser.add_argument('-o', '--out', default='work_dirs/demo', help='folder for everything that the demo makes')
    return parser.parse_args()


def main() -> None:
    """Run the demo."""
    args = parse_args()
    out = Path(args.out)
    work_dir = out / datetime.now().strftime('%Y%m%d_%H%M%S')
    try:
        print('1. data and key')
        data = args.data or str(write_demo_scenes(out / 'scenes'))
        key_file = out / 'demo.key'
        out.mkdir(parents=True, exist_ok=True)
        if not key_file.exists():
            SecretKey.generate().save(key_file)
        print(f'   images: {data}\n   key: {key_file}, id {SecretKey.load(key_file).key_id}')

        cfg = Config.fromfile(args.config or (CAMVID if args.data else DEMO))
        set_data_root(cfg, data)
        set_key_file(cfg, str(key_file))
        cfg.work_dir = str(work_dir)
        print(f'2. training on encrypted images, {cfg.train_cfg.max_iters} iterations')
        Runner.from_cfg(cfg).train()

        print('3. who gets what')
        checkpoint = work_dir / f'iter_{cfg.train_cfg.max_iters}.pth'
        report = evaluate_access(cfg, str(checkpoint), work_dir / 'access', args.wrong_keys)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(report.table())
    print(report.verdict)
    print(f'report: {work_dir}/access/{REPORT}')


if __name__ == '__main__':
    main()
