"""A protected model beside the model that it was made from, on real images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress
from torch import nn
from torch.utils.data import DataLoader

from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint


@dataclass(frozen=True)
class Verification:
    """How far two models agree.

    Args:
        images: How many images were compared.
        plain: mIoU of the plain model on plain images, in percent.
        protected: mIoU of the protected model with its key, in percent.
        logits: The largest absolute difference of two logits.
        logit_range: The largest absolute logit of the plain model, to compare with.
        pixels: The share of pixels to which both give the same class, in percent.
    """

    images: int
    plain: float
    protected: float
    logits: float
    logit_range: float
    pixels: float

    def __str__(self) -> str:
        return (
            f'mIoU {self.plain:.2f} plain, {self.protected:.2f} protected with its key, difference '
            f'{self.protected - self.plain:+.2f}; logits differ by {self.logits:.2g} at most, of '
            f'{self.logit_range:.3g}; {self.pixels:.3f}% of the pixels have the same class ({self.images} images)'
        )


@torch.no_grad()
def verify(cfg: Config, plain: nn.Module, protected: nn.Module, images: int | None = None) -> Verification:
    """Compare two models on the test images of a configuration.

    Args:
        cfg: With ``test_dataloader`` and ``test_evaluator``; nothing of it encrypts.
        plain: Gets plain images.
        protected: Encrypts them in its preprocessor.
        images: How many images, the first ones; all by default.

    Raises:
        ConfigError: The data set is empty.
    """
    loader_cfg = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    if images is not None:
        loader_cfg['dataset'] = dict(loader_cfg['dataset'], indices=images)
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    if len(loader.dataset) == 0:
        raise ConfigError('Expected test images, but the data set is empty. Check data_root and data_prefix.')
    models = dict(plain=plain.eval(), protected=protected.eval())
    evaluators = {who: _evaluator(cfg, loader) for who in models}
    logits = logit_range = same = total = 0.0
    for batch in track_iter_progress((loader, len(loader))):
        outputs: dict[str, Any] = {who: model.test_step(batch) for who, model in models.items()}
        for who, evaluator in evaluators.items():
            evaluator.process(data_samples=outputs[who], data_batch=batch)
        for one, other in zip(outputs['plain'], outputs['protected'], strict=True):
            logits = max(logits, (one.seg_logits.data - other.seg_logits.data).abs().max().item())
            logit_range = max(logit_range, one.seg_logits.data.abs().max().item())
            agree = one.pred_sem_seg.data == other.pred_sem_seg.data
            same, total = same + agree.sum().item(), total + agree.numel()
    print()
    scores = {who: round(float(one.evaluate(len(loader.dataset))['mIoU']), 2) for who, one in evaluators.items()}
    return Verification(
        len(loader.dataset), scores['plain'], scores['protected'], logits, logit_range, 100 * same / total
    )


def verify_protection(
    config: str | Path,
    checkpoint: str | Path,
    protected_config: str | Path,
    protected_checkpoint: str | Path,
    key: Any = None,
    data_root: str | None = None,
    images: int | None = None,
) -> Verification:
    """Compare what :func:`~mmseg_keyprotect.protection.bind` wrote with what it was made from.

    Args:
        config: The plain configuration.
        checkpoint: The plain checkpoint.
        protected_config: The protected configuration.
        protected_checkpoint: The protected checkpoint.
        key: The key's configuration; by default the file that KEYPROTECT_KEY_FILE names.
        data_root: In place of that of the data set.
        images: How many images, the first ones; all by default.

    Raises:
        ConfigError: There are no test images, or a checkpoint does not fit.
    """
    plain_cfg, protected_cfg = load_config(config), load_config(protected_config)
    models = build_model(plain_cfg), build_model(protected_cfg, key)
    for model, path in zip(models, (checkpoint, protected_checkpoint), strict=True):
        load_strictly(model, read_checkpoint(path, key)[0])
    cfg = Config(plain_cfg)
    if data_root:
        cfg.test_dataloader.dataset.data_root = data_root
    return verify(cfg, *models, images)


def _evaluator(cfg: Config, loader: DataLoader) -> Evaluator:
    config = cfg.test_evaluator
    evaluator = Evaluator(config if isinstance(config, list) else [config])
    evaluator.dataset_meta = loader.dataset.metainfo
    return evaluator
