"""Who gets which accuracy: the correct key, no key, wrong keys (arXiv 2107.09362, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.engine.config_check import check_config, raise_problems
from mmseg_keyprotect.engine.pipelines import PREPROCESSOR, TRANSFORM, find_model, find_pipelines, find_protections
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.report import AccessReport, AccessRow
from mmseg_keyprotect.keys import SecretKey

IGNORE_INDEX = 255


def set_data_root(cfg: Config, root: str) -> None:
    """Let every dataset of a configuration read from the folder ``root``."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].dataset.data_root = root


def set_key_file(cfg: Config, path: str) -> None:
    """Let every encryption of a configuration take its key from the file ``path``."""
    for protection in find_protections(cfg):
        protection.config['key'] = dict(type='KeyFile', path=path)


def to_preprocessor_form(cfg: Config) -> None:
    """Move the encryption of a protected configuration into the preprocessor, which gives the model the same input.

    Raises:
        ConfigError: The configuration is not protected.
    """
    protections = find_protections(cfg.to_dict())
    if not protections:
        raise ConfigError(
            'Expected a protected configuration, but this one encrypts nowhere. '
            'Protect it first: python tools/protect_config.py CONFIG -o PROTECTED.py'
        )
    for pipeline in find_pipelines(cfg).values():
        pipeline[:] = [step for step in pipeline if step.get('type') != TRANSFORM]
        for step in pipeline:
            if step.get('type') == 'TestTimeAug':
                step.transforms = [branch for branch in step.transforms if branch[0].get('type') != TRANSFORM]
    find_model(cfg).data_preprocessor.update(type=PREPROCESSOR, **protections[0].cipher_arguments)


class AccessEvaluation:
    """A protected model with its test data, to be tried with one key after another.

    Args:
        cfg: A protected configuration with ``test_dataloader`` and ``test_evaluator``.
        checkpoint: A checkpoint of the configuration's key.
        work_dir: Where mmengine writes its logs.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration is not protected, or not sound.
    """

    def __init__(self, cfg: Config, checkpoint: str, work_dir: str) -> None:
        cfg = cfg.copy()
        to_preprocessor_form(cfg)
        raise_problems(check_config(cfg))  # before the runner writes the configuration to its logs
        cfg.update(work_dir=work_dir, log_level='WARNING', launcher='none')
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
        self.runner = Runner.from_cfg(cfg)
        self.runner.call_hook('before_run')
        self.runner.load_checkpoint(checkpoint)
        self.model = self.runner.model.eval()
        self.correct: KeyedCipher = self.model.data_preprocessor.keyed_cipher
        self._arguments = find_protections(cfg.to_dict())[0].cipher_arguments

    def wrong_cipher(self) -> KeyedCipher:
        """Return the model's cipher with a freshly random key."""
        return KeyedCipher(**{**self._arguments, 'key': SecretKey.generate(), 'key_id': None})

    @contextmanager
    def using(self, cipher: KeyedCipher | None) -> Iterator[Any]:
        """Give the model images encrypted with ``cipher``, or plain ones for None, within this block."""
        preprocessor = self.model.data_preprocessor
        try:
            preprocessor.keyed_cipher = cipher
            yield self.model
        finally:
            preprocessor.keyed_cipher = self.correct

    def run(self, wrong_keys: int) -> AccessReport:
        """Evaluate the correct key, no key and ``wrong_keys`` fresh wrong keys in one pass over the images.

        Raises:
            ConfigError: The data set is empty.
        """
        runner = self.runner
        loader = runner.build_dataloader(runner.cfg.test_dataloader)
        if len(loader.dataset) == 0:
            raise ConfigError('Expected test images, but the data set is empty. Check data_root and data_prefix.')
        candidates: dict[str, KeyedCipher | None] = {'correct key': self.correct, 'no key': None}
        candidates.update({f'wrong key {n}': self.wrong_cipher() for n in range(1, wrong_keys + 1)})
        evaluators = {who: runner.build_evaluator(runner.cfg.test_evaluator) for who in candidates}
        for evaluator in evaluators.values():
            evaluator.dataset_meta = loader.dataset.metainfo
        pixels = np.zeros(256, dtype=np.int64)
        for batch in track_iter_progress((loader, len(loader))):
            for sample in batch['data_samples']:
                pixels += np.bincount(sample.gt_sem_seg.data.flatten().numpy(), minlength=256)
            for who, cipher in candidates.items():
                with self.using(cipher) as model:
                    outputs = model.test_step(batch)
                evaluators[who].process(data_samples=outputs, data_batch=batch)
        print()
        rows = [
            AccessRow(who, **{name: float(scores[name]) for name in ('mIoU', 'aAcc', 'mAcc')})
            for who, scores in ((who, evaluator.evaluate(len(loader.dataset))) for who, evaluator in evaluators.items())
        ]
        return AccessReport(
            rows=rows,
            floor=_floor(pixels, len(loader.dataset.metainfo['classes'])),
            images=len(loader.dataset),
            key_id=self.correct.key_id,
            cipher=self.correct.name,
            key_space_bits=round(self.correct.cipher_for(3).key_space_bits, 1),
        )


def _floor(pixels: np.ndarray, classes: int) -> AccessRow:
    """Score the predictor that always says the most frequent class.

    Args:
        pixels: int64 (256,), how many pixels have each label.
        classes: How many classes there are.
    """
    pixels = pixels[:classes]
    share = 100 * pixels.max() / pixels.sum()
    present = np.count_nonzero(pixels)
    return AccessRow('floor', mIoU=round(share / present, 2), aAcc=round(share, 2), mAcc=round(100 / present, 2))
