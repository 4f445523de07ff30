"""A protected model as a target: the attacker's images out of its data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.config import Config
from torch import Tensor

from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.audit.target import Loot, Target
from mmseg_keyprotect.audit.training import Lessons
from mmseg_keyprotect.config.edit import unprotected
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.session.images import TestImages


def open_target(
    cfg: Config,
    evaluation: AccessEvaluation,
    images: int,
    held_out: Sequence[int],
    public_weights: Mapping[str, Tensor] | None = None,
) -> Target:
    """Make a target of a protected model; its attacker has images of the training set, seen as test images are.

    Without a training set he has test images other than those that he is measured on.

    Args:
        cfg: Of the model, with ``test_dataloader``; nothing of it encrypts in the pipeline.
        evaluation: The model.
        images: How many plain images the attacker has, and at most as many others encrypted.
        held_out: The indices of the test images that he must not have.
        public_weights: See :class:`Target`.

    Raises:
        ConfigError: There are too few images.
    """
    cipher = evaluation.cipher.cipher_for(3) if evaluation.cipher else None
    form = Form.of(cipher)
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    while isinstance(dataset, Mapping) and ('dataset' in dataset or 'datasets' in dataset):  # wrappers
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    if dataset:
        source = Config(cfg.to_dict())
        source.test_dataloader.dataset = dict(dataset, pipeline=cfg.test_dataloader.dataset.pipeline)
        data = TestImages(source)
        free = np.arange(len(data))
    else:
        data = evaluation.images
        free = np.setdiff1d(np.arange(len(data)), held_out)
    if not 0 < images <= len(free):
        raise ConfigError(
            f'Expected 1 to {len(free)} images for the attacker, but got {images}. He takes them from '
            'train_dataloader, or, where there is none, from the test images that are not held out.'
        )
    own = spaced(free, images)
    others = np.setdiff1d(free, own)
    pictures, labels = [], []
    for index in [*spaced(others, min(images, len(others))), *own]:
        batch = data.batch(int(index))
        picture = batch['inputs'][0].numpy().transpose(1, 2, 0)
        if evaluation.channel_order == 'bgr':
            picture = picture[..., ::-1]
        pictures.append(np.ascontiguousarray(form.whole_blocks(picture)))
        if data.labelled:
            labels.append(form.whole_blocks(_resize(batch['data_samples'][0].gt_sem_seg.data[0], picture.shape)))
    seen = len(pictures) - images
    lessons = Lessons(unprotected(cfg), dataset, own.tolist()) if dataset and data.labelled else None
    loot = Loot(pictures[:seen], pictures[seen:], labels[seen:], lessons)
    return Target(cipher, loot, evaluation, public_weights)


def spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Return so many of the indices, evenly spaced."""
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]


def _resize(label: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Return a label map in the size of its image, nearest."""
    rows, columns = ((np.arange(new) + 0.5) * old // new for new, old in zip(shape[:2], label.shape, strict=True))
    return label.numpy()[rows.astype(int)[:, None], columns.astype(int)]
