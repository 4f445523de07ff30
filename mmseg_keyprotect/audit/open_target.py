"""Make a target of a protected model: the attacker's images come from its data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import Tensor

from mmseg_keyprotect.audit.attacked_model import AttackedModel
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.audit.training import AttackerTrainingSet, learns_edges
from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.config.datasets import find_datasets
from mmseg_keyprotect.config.edit import unprotected
from mmseg_keyprotect.config.view import encrypts, find_model, kind_of, walk
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.images import TestImages, spaced
from mmseg_keyprotect.session.model import LoadedModel


def open_target(
    protected: LoadedModel,
    test_images: TestImages,
    images: int,
    held_out: Sequence[int],
    public_weights: Mapping[str, Tensor] | None = None,
    own_model: Config | None = None,
) -> Target:
    """Make a target of a model.

    The attacker has images of the training set, loaded by the test pipeline. Without a training set they have test
    images other than those that they are measured on.

    Args:
        protected: The model.
        test_images: Its test images.
        images: The number of plain images that the attacker has, and at most as many others encrypted.
        held_out: The indices of the test images that the attacker must not have.
        public_weights: See :class:`~mmseg_keyprotect.audit.target.Target`.
        own_model: See :class:`~mmseg_keyprotect.audit.target.AttackerData`.

    Raises:
        ConfigError: There are too few images, or the own model has other classes.
    """
    cfg = protected.cfg
    cipher = protected.image_cipher
    info = CipherInfo.of(cipher)
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if dataset:
        dataset = find_datasets(dataset)[0]  # without its wrappers, so that no image of another data set is mixed in
        source = Config(cfg.to_dict())
        pipeline = find_datasets(cfg.test_dataloader.dataset)[0].get('pipeline', [])
        source.test_dataloader.dataset = dict(dataset, pipeline=pipeline)
        data = TestImages(source, 'train_dataloader')
        free = np.arange(len(data))
    else:
        data = test_images
        free = np.setdiff1d(np.arange(len(data)), held_out)
    if not 0 < images <= len(free):
        raise ConfigError(
            f'Expected 1 to {len(free)} images for the attacker, but got {images}; give another number. The images '
            'come from train_dataloader, or, without one, from the test images that are not held out.'
        )
    given = spaced(free, images)
    others = np.setdiff1d(free, given)
    pictures, labels = [], []
    for index in [*spaced(others, images), *given]:
        batch = data.batch(int(index))
        picture = batch['inputs'][0].numpy().transpose(1, 2, 0)
        if protected.channel_order == 'bgr' and picture.shape[-1] == RGB:
            picture = picture[..., ::-1]
        pictures.append(np.ascontiguousarray(info.whole_blocks(picture)))
        if data.labelled:
            labels.append(info.whole_blocks(_resize(batch['data_samples'][0].gt_sem_seg.data[0], picture.shape)))
    seen = len(pictures) - images
    training_set = None
    if dataset and data.labelled and 'PackSegInputs' in map(kind_of, dataset.get('pipeline', [])):
        training_set = AttackerTrainingSet(unprotected(cfg), dataset, given.tolist())
    own = None if own_model is None else _own(own_model, test_images.classes, (dataset or {}).get('pipeline', []))
    return Target(
        cipher,
        AttackerData(pictures[:seen], pictures[seen:], labels[seen:], training_set, own),
        AttackedModel(protected, test_images.ignore_index),
        protected.features,
        public_weights,
    )


def _own(cfg: Config, classes: Sequence[str], pipeline: Sequence[Any]) -> Config:
    """Return the configuration of an attacker's own model; refuse one that cannot learn what the attacked one does."""
    model = find_model(cfg)
    heads = [node for name in ('decode_head', 'auxiliary_head') for _, node in walk(model.get(name))]
    counts = [node['num_classes'] for node in heads if isinstance(node, Mapping) and 'num_classes' in node]
    if others := [count for count in counts if count != len(classes)]:
        raise ConfigError(
            f'Expected an own model of the same {len(classes)} classes, to train it on what this one answers, but got '
            f'a head of {others[0]}. Set num_classes of its heads, auxiliary ones too.'
        )
    if learns_edges(cfg) and 'GenerateEdge' not in map(kind_of, pipeline):
        raise ConfigError(
            'Expected an own model that learns from labels, but PIDHead needs their edges too, which the training '
            'pipeline of the attacked model does not make. Give another own model.'
        )
    return unprotected(cfg) if encrypts(cfg) else cfg


def _resize(label: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Return a label map in the size of its image, by nearest neighbour."""
    rows, columns = ((np.arange(new) + 0.5) * old // new for new, old in zip(shape[:2], label.shape, strict=True))
    return label.numpy()[rows.astype(int)[:, None], columns.astype(int)]
