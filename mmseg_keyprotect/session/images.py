"""The test images of a configuration, one at a time; each is decoded and resized once for all users."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from mmseg_keyprotect.config.missing_data import naming_missing_data
from mmseg_keyprotect.config.view import find_pipelines, find_protections, kind_of
from mmseg_keyprotect.datasets.labels import LABEL_LOADERS, has_label
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.scores import count_pixels


class TestImages:
    """The data set of ``test_dataloader``.

    Args:
        cfg: A configuration whose test pipeline does not encrypt.
        loader: The data loader whose data set this is, as errors name it.

    Attributes:
        dataset: The data set.
        paths: The path of every image.
        labelled: Whether the images have labels.
        classes: The names of the classes.
        ignore_index: The label of pixels that do not count.

    Raises:
        MissingFileError: The folder of the data set does not exist, or holds no images.
        ConfigError: There is no data set, it names no classes, or only some of its images have labels.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(self, cfg: Config, loader: str = 'test_dataloader') -> None:
        init_default_scope(cfg.get('default_scope') or 'mmseg')
        if not cfg.get('test_dataloader'):
            raise ConfigError('Expected a configuration with test_dataloader, but got one without. Add one.')
        self._config = cfg.test_dataloader.dataset
        with naming_missing_data(cfg, [loader]):
            self.dataset = DATASETS.build(self._config)
        infos = [self.dataset.get_data_info(index) for index in range(len(self.dataset))]
        self.paths = [info['img_path'] for info in infos]
        self.labelled = _check_labels(infos)
        if not self.labelled:
            self.dataset = DATASETS.build(_without_labels(self._config))
        self.classes: tuple[str, ...] = tuple(self.dataset.metainfo.get('classes') or ())
        if not self.classes:
            raise ConfigError(
                'Expected a data set that names its classes, but got none. Set metainfo=dict(classes=(...)) in '
                'test_dataloader.dataset.'
            )
        self.ignore_index = _ignore_index(cfg)
        self._last: tuple[int, dict] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, index: int) -> dict[str, Any]:
        """Return a batch of one image. The last batch is cached, since all users get the same image in turn."""
        if self._last is None or self._last[0] != index:
            self._last = index, pseudo_collate([self.dataset[index]])
        return self._last[1]

    def pixels(self, prediction: SegDataSample) -> np.ndarray:
        """Count the pixels of a prediction against its labels.

        Args:
            prediction: The prediction for one labelled image, with ``pred_sem_seg`` and ``gt_sem_seg``.

        Returns:
            float64 (3, classes), see :func:`~mmseg_keyprotect.session.scores.count_pixels`.
        """
        label, classes = prediction.gt_sem_seg.data, len(self.classes)
        return count_pixels(prediction.pred_sem_seg.data, label, classes, self.ignore_index)

    def for_baseline(self, cfg: Config) -> TestImages:
        """Return the images for an unprotected model: these, if its data set and pipeline are the same.

        Args:
            cfg: The configuration of the unprotected model.

        Raises:
            ConfigError: That configuration is protected, or has other classes or images.
        """
        if find_protections(cfg.to_dict()):
            raise ConfigError(
                'Expected an unprotected model as the baseline, but its configuration encrypts. '
                'Give the unprotected model that you would use instead.'
            )
        images = TestImages(cfg)
        if images.classes != self.classes:
            raise ConfigError(
                f'Expected a baseline with the same {len(self.classes)} classes, {", ".join(self.classes[:3])}, ..., '
                f'but got {len(images.classes)}: {", ".join(images.classes[:3])}, ... '
                'Give a baseline that was trained on the same classes.'
            )
        if [Path(path).name for path in images.paths] != [Path(path).name for path in self.paths]:
            raise ConfigError(
                f'Expected the baseline to be tested on the same {len(self)} images, but its data set has '
                f'{len(images)} others. Give both the same data_root, data_prefix and ann_file.'
            )
        return self if images._config == self._config else images


def spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Return a number of the indices, evenly spaced; all of them where there are no more.

    Args:
        indices: int64 (N,).
        count: The number of indices to return.

    Example:
        >>> spaced(np.arange(10), 4).tolist(), spaced(np.arange(2), 4).tolist()
        ([0, 3, 6, 9], [0, 1])
    """
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]


def _check_labels(infos: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the images have labels."""
    missing = [info for info in infos if not has_label(info)]
    if missing and len(missing) < len(infos):
        raise ConfigError(
            f'Expected a label map for every image, but {len(missing)} of {len(infos)} are missing, for example '
            f'{missing[0].get("seg_map_path") or "that of " + missing[0]["img_path"]}. Add them, or take those images '
            'out of the data set.'
        )
    return not missing


def _without_labels(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of a data set, or of a wrapper, whose pipelines load no labels."""
    config = copy.deepcopy(config)
    for pipeline in find_pipelines(dict(test_dataloader=config)).values():
        pipeline[:] = [step for step in pipeline if kind_of(step) not in LABEL_LOADERS]
    return config


def _ignore_index(cfg: Config) -> int:
    evaluators = cfg.get('test_evaluator') or {}
    for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if 'ignore_index' in evaluator:
            return evaluator['ignore_index']
    return 255
