"""Compare a protected model with the model that it was made from, on real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from torch.utils.data import Subset

from mmseg_keyprotect.config.edit import set_data_root
from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.datasets.labels import has_label
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint


@dataclass(frozen=True)
class Verification:
    """How far two models agree.

    Args:
        images: The number of images that were compared.
        plain: The mIoU of the plain model on plain images, in percent.
        protected: The mIoU of the protected model with its key, in percent.
        logits: The largest absolute difference between a logit of one model and that of the other.
        logit_range: The largest absolute logit of the plain model, as the scale for ``logits``.
        pixels: The share of pixels for which both models predict the same class, in percent.
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
def verify(cfg: Config, plain: BaseSegmentor, protected: BaseSegmentor, images: int | None = None) -> Verification:
    """Compare two models on the test images of a configuration.

    Args:
        cfg: A configuration with ``test_dataloader`` and ``test_evaluator``, whose pipelines do not encrypt.
        plain: The model that takes plain images.
        protected: The model whose preprocessor encrypts them.
        images: How many images to take, the first ones. By default all.

    Raises:
        ConfigError: The data set is empty, or has no labels.
    """
    loader_cfg = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    with naming_missing_data(cfg, ['test_dataloader']):
        dataset = DATASETS.build(loader_cfg['dataset'])
    count = len(dataset) if images is None else min(images, len(dataset))
    if count == 0:
        raise ConfigError('Expected test images, but the data set is empty. Check data_root and data_prefix.')
    if not has_label(dataset.get_data_info(0)):
        raise ConfigError(
            'Expected test images with labels, to compare the mIoU, but got none. Check seg_map_path in the '
            'data_prefix of test_dataloader, or give the folder of a labelled data set with --data.'
        )
    loader_cfg['dataset'] = Subset(dataset, range(count))
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    models = dict(plain=plain.eval(), protected=protected.eval())
    evaluators = {who: _evaluator(cfg, dataset.metainfo) for who in models}
    logits = logit_range = same = total = 0.0
    with TaskProgress('comparing', len(loader)) as progress:
        for batch in loader:
            outputs: dict[str, Any] = {who: model.test_step(batch) for who, model in models.items()}
            for who, evaluator in evaluators.items():
                evaluator.process(data_samples=outputs[who], data_batch=batch)
            for one, other in zip(outputs['plain'], outputs['protected'], strict=True):
                logits = max(logits, (one.seg_logits.data - other.seg_logits.data).abs().max().item())
                logit_range = max(logit_range, one.seg_logits.data.abs().max().item())
                agree = one.pred_sem_seg.data == other.pred_sem_seg.data
                same, total = same + agree.sum().item(), total + agree.numel()
            progress.advance()
    scores = {who: round(float(one.evaluate(count)['mIoU']), 2) for who, one in evaluators.items()}
    return Verification(count, scores['plain'], scores['protected'], logits, logit_range, 100 * same / total)


def verify_protection(
    config: str | Path,
    checkpoint: str | Path,
    protected_config: str | Path,
    protected_checkpoint: str | Path,
    key: Any = None,
    data_root: str | None = None,
    images: int | None = None,
) -> Verification:
    """Compare what :func:`~mmseg_keyprotect.protection.protect_checkpoint` wrote with the model that it was made from.

    Args:
        config: The plain configuration file.
        checkpoint: The plain checkpoint.
        protected_config: The protected configuration file.
        protected_checkpoint: The protected checkpoint, or ``sealed://PATH``.
        key: The key's configuration. By default the environment variable KEYPROTECT_KEY_FILE names the key file.
        data_root: The folder of the data set. By default that of the configuration.
        images: How many test images to take, the first ones. By default all.

    Raises:
        MissingFileError: A configuration or a checkpoint does not exist.
        CheckpointError: A checkpoint cannot be read, or does not fit its configuration.
        ConfigError: A configuration cannot be loaded, or has no test images.

    Example:
        >>> plain, protected = ('c.py', 'c.pth'), ('protected/c.py', 'protected/c.pth')
        >>> print(verify_protection(*plain, *protected, images=10))  # doctest: +SKIP
        mIoU 61.20 plain, 61.20 protected with its key, difference +0.00; ...
    """
    plain_cfg, protected_cfg = load_config(config), load_config(protected_config)
    models = build_model(plain_cfg), build_model(protected_cfg, key)
    for model, path in zip(models, (checkpoint, protected_checkpoint), strict=True):
        load_strictly(model, read_checkpoint(path, key)[0])
    cfg = Config(plain_cfg)
    if data_root:
        set_data_root(cfg, data_root, ['test_dataloader'])
    return verify(cfg, *models, images)


def _evaluator(cfg: Config, metainfo: Mapping[str, Any]) -> Evaluator:
    config = cfg.test_evaluator
    evaluator = Evaluator(config if isinstance(config, list) else [config])
    evaluator.dataset_meta = metainfo
    return evaluator
