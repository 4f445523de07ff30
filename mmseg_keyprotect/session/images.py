"""The test images of a configuration, one at a time; each is decoded and resized once for all users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample

from mmseg_keyprotect.config.view import find_protections
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.scores import count_pixels

_CHECK = 'Check data_root and data_prefix of test_dataloader, or give the folder with --data.'


class TestImages:
    """The data set of ``test_dataloader``.

    Args:
        cfg: A configuration whose test pipeline does not encrypt.

    Attributes:
        dataset: The data set.
        paths: The path of every image.
        labelled: Whether the images have labels.
        classes: The names of the classes.
        ignore_index: The label of pixels that do not count.

    Raises:
        ConfigError: The data set is empty, or only some of its images have labels.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(self, cfg: Config) -> None:
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self._config = cfg.test_dataloader.dataset
        try:
            self.dataset = DATASETS.build(self._config)
        except FileNotFoundError as error:
            raise ConfigError(f'Expected test images, but {error.filename} does not exist. {_CHECK}') from None
        except ValueError as error:
            if 'at least one array' not in str(error):  # mmengine's BaseDataset says so if there are no images
                raise
            raise ConfigError(f'Expected test images, but the data set is empty. {_CHECK}') from None
        infos = [self.dataset.get_data_info(index) for index in range(len(self.dataset))]
        self.paths = [info['img_path'] for info in infos]
        self.labelled = self._check_labels([info.get('seg_map_path') for info in infos])
        self.classes: tuple[str, ...] = tuple(self.dataset.metainfo['classes'])
        self.ignore_index = _ignore_index(cfg)
        self._last: tuple[int, dict] | None = None

    def _check_labels(self, labels: list[str | None]) -> bool:
        """Return whether the images have labels; if none has, stop the pipeline from loading them."""
        missing = [path for path in labels if path is None or not ('://' in path or Path(path).exists())]
        if len(missing) < len(labels):
            if missing:
                raise ConfigError(
                    f'Expected a label map for every image, but {len(missing)} of {len(labels)} are missing, '
                    f'for example {missing[0]}. Add them, or take those images out of the data set.'
                )
            return True
        steps = self.dataset.pipeline.transforms
        steps[:] = [step for step in steps if type(step).__name__ != 'LoadAnnotations']
        return False

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


def _ignore_index(cfg: Config) -> int:
    evaluators = cfg.get('test_evaluator') or {}
    for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if 'ignore_index' in evaluator:
            return evaluator['ignore_index']
    return 255
