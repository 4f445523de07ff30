"""Trainings that several tests begin with, done once."""

from pathlib import Path

from mmengine.runner import Runner

CHECKPOINTS: dict[str, bytes] = {}


def train_once(cfg, name):
    """Train, or write the checkpoint of an earlier training with the same name; return its path."""
    file = Path(cfg.work_dir) / f'iter_{cfg.train_cfg.max_iters}.pth'
    if name in CHECKPOINTS:
        file.parent.mkdir(parents=True)
        file.write_bytes(CHECKPOINTS[name])
    else:
        Runner.from_cfg(cfg).train()
        CHECKPOINTS[name] = file.read_bytes()
    return str(file)
