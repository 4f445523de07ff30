"""A validation loop that measures users without the correct key beside the user who has it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop
from mmengine.runner.amp import autocast
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import HOOKS, LOOPS
from torch.utils.data import DataLoader

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.model import prepared, using
from mmseg_keyprotect.session.processes import on_main_process
from mmseg_keyprotect.session.scores import Scores, count_pixels
from mmseg_keyprotect.session.users import User, Users


@LOOPS.register_module()
class DenialValLoop(ValLoop):
    """Validates a protected model with the correct key, without a key, and with random wrong keys.

    The metrics are in percent: ``mIoU`` of the correct key, ``no_key``, ``wrong_keys`` (the mean) and ``wrong_key``
    (the best) of the wrong keys, ``floor`` of the majority-class baseline, and ``margin``: mIoU minus the best of the
    others. mmengine's hooks can watch the margin, to keep the best checkpoint and to stop early. The wrong keys are
    drawn as the loop is built, and no other run or evaluation has the same.

    Args:
        runner: The runner.
        dataloader: The data loader of images with labels, or its configuration.
        evaluator: Its ``ignore_index`` is used; the loop counts pixels itself.
        fp16: Whether to predict with mixed precision.
        wrong_keys: The number of wrong keys, at least 1.
        images: How many images to take, the first that the data loader gives in each process; None takes all.

    Raises:
        ConfigError: The model is not protected, or a number is out of range.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        wrong_keys: int = 8,
        images: int | None = None,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        check_counts(wrong_keys, images)
        self.images = images
        self.history: list[dict[str, float]] = []
        """The metrics of every validation, with its ``iteration``."""
        self.classes = len(self.dataloader.dataset.metainfo['classes'])
        self.users = self._make_users(_module(runner), wrong_keys)

    @staticmethod
    def _make_users(model: BaseSegmentor, wrong_keys: int) -> list[User]:
        make = Users.of(model)
        if make.cipher is None and make.features is None:
            raise ConfigError(
                'Expected a model that encrypts images or feature maps, for DenialValLoop, but got neither. Bind it: '
                'keyprotect protect CONFIG CHECKPOINT -o FOLDER'
            )
        nonce = on_main_process(secrets.token_bytes, 16)
        return [make.correct(), make.without_key(), *(make.wrong(nonce, n) for n in range(wrong_keys))]

    def run(self) -> dict[str, float]:
        """Validate every user, and return the metrics."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        model = _module(self.runner).eval()
        counts, seen = np.zeros((len(self.users), 3, self.classes)), 0
        for batch in self.dataloader:
            counts += np.stack([self._count(model, user, batch) for user in self.users])
            seen += len(batch['inputs'])
            if self.images is not None and seen >= self.images:
                break
        total = torch.from_numpy(counts)
        all_reduce(total)
        metrics = self._metrics(total.numpy())
        self.history.append(dict(iteration=self.runner.iter, **metrics))
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def _count(self, model: BaseSegmentor, user: User, batch: Mapping[str, Any]) -> np.ndarray:
        """Count the pixels of a user's predictions, float64 (3, classes); the batch stays as it is."""
        batch = dict(inputs=list(batch['inputs']), data_samples=[one.clone() for one in batch['data_samples']])
        data = prepared(model.data_preprocessor, user, batch)
        with autocast(enabled=self.fp16), using(model, user):
            found = model(**data, mode='predict')
        return np.sum([self._pixels(one) for one in found], axis=0)

    def _pixels(self, sample: Any) -> np.ndarray:
        ignore_index = next((one.ignore_index for one in self.evaluator.metrics if hasattr(one, 'ignore_index')), 255)
        return count_pixels(sample.pred_sem_seg.data, sample.gt_sem_seg.data, self.classes, ignore_index)

    @staticmethod
    def _metrics(counts: np.ndarray) -> dict[str, float]:
        correct, no_key, *wrong = (Scores.from_counts(one).mIoU for one in counts)
        return dict(
            mIoU=correct,
            no_key=no_key,
            wrong_keys=round(float(np.mean(wrong)), 2),
            wrong_key=max(wrong),
            floor=Scores.of_most_frequent(counts[0, 2]).mIoU,
            margin=round(correct - max(no_key, *wrong), 2),
        )


@HOOKS.register_module()
class ValidateFirstHook(Hook):
    """Validates once before the training, so that the model of the start can be the best."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Run the validation loop."""
        runner.val_loop.run()


def check_counts(wrong_keys: int, images: int | None) -> None:
    """Raise ConfigError unless there is at least one wrong key, and one image where a number of images is given."""
    if wrong_keys < 1 or (images is not None and images < 1):
        raise ConfigError(
            f'Expected at least 1 wrong key and 1 image, but got {wrong_keys} and {images}. Give larger numbers.'
        )


def _module(runner: Runner) -> BaseSegmentor:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
