"""A rival's protection of a trained model, and the attacks on it. All rows of the leaderboard share this code."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from torch import Tensor

from benchmarks.paper.rivals import RIVALS
from benchmarks.paper.rivals.base import filled, hidden_bytes, units
from benchmarks.paper.rivals.hpnn import bits_of_gains
from benchmarks.paper.rivals.nnsplitter import restored_outliers
from benchmarks.paper.rivals.preparation import plain_config, recalibrate, whole_names
from mmseg_keyprotect.audit.attacks.fine_tuning import FineTuning
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import AttackerTrainingSet, train
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.session.images import TestImages, spaced
from mmseg_keyprotect.session.scores import Scores

LIMIT = 3600.0
"""Seconds that an attack may take; all of them end before."""

THRESHOLDS = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
"""Distances beyond which weights count as outliers, of which the attacker's images choose one."""

NORMS_LR = 3e-2
"""Learning rate of gains and biases that are learned alone."""

Result = dict[str, Any]


class Experiment:
    """A protected model, its attacker's images, and the images that attackers are measured on.

    Args:
        cfg: Configuration of the plain model.
        checkpoint: The trained model.
        rival: Name of the rival.
        images: Number of labelled images that the attacker has.
        steps: Training steps of an attack.
        held_out: Number of test images that attackers are measured on.
        public: Checkpoint of the public model; None if the attacker has none.
        seed: Seed of the secret.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        rival: str,
        images: int,
        steps: int,
        held_out: int,
        public: str | None = None,
        seed: int = 0,
    ) -> None:
        self.cfg, self.rival, self.steps = cfg, RIVALS[rival](), steps
        trained = build_model(cfg)
        load_strictly(trained, read_checkpoint(checkpoint)[0])
        self.trained = trained
        self.public = None if public is None else whole_names(read_checkpoint(public)[0], trained)
        self.test_images = TestImages(plain_config(cfg))
        self.indices = spaced(np.arange(len(self.test_images)), min(held_out, len(self.test_images)))
        source = cfg.train_dataloader.dataset
        total = len(DATASETS.build(source))
        everything = AttackerTrainingSet(cfg, source, list(range(total)))
        self.training_set = AttackerTrainingSet(plain_config(cfg), source, spaced(np.arange(total), images).tolist())
        torch.manual_seed(seed)
        np.random.seed(seed)
        rng = np.random.default_rng(seed)
        data = [trained.data_preprocessor(everything.draw(rng), True) for _ in range(4)]
        self.file, self.secret = self.rival.protect(trained, data)

    @cached_property
    def blank(self) -> BaseSegmentor:
        """The plain architecture at the owner's starting point, which is the attacker's too."""
        torch.manual_seed(0)
        model = build_model(copy.deepcopy(plain_config(self.cfg)))
        model.init_weights()
        return model.eval()

    @torch.no_grad()
    def score(self, model: BaseSegmentor) -> float:
        """Return the mIoU of a model in percent, on the held-out images."""
        images, model = self.test_images, model.eval()
        counts = [images.pixels(model.test_step(images.batch(int(index)))[0]) for index in self.indices]
        return Scores.from_counts(np.sum(counts, axis=0)).mIoU

    def access(self) -> Result:
        """Measure the authorised model, and the file as it is."""
        with_key = self.rival.with_key(self.blank, self.file, self.secret)
        batch = self.trained.data_preprocessor(copy.deepcopy(self.test_images.batch(0)), False)['inputs']
        with torch.no_grad():
            outputs = [model.eval()(batch, mode='tensor') for model in (self.trained, with_key)]
        return dict(
            plain=self.score(self.trained),
            mIoU=self.score(with_key),
            alone=self.score(self.rival.alone(self.blank, self.file)),
            logit_error=float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max()),
            hidden_bytes=hidden_bytes(self.secret),
            file_bytes=hidden_bytes(self.file),
        )

    def stolen(self) -> tuple[BaseSegmentor, Result]:
        """Return what the attacker starts from: the file, completed by the public model where there is one."""
        weights = self.file if self.public is None else self.rival.beside(self.blank, self.file, self.public)
        model = self.rival.alone(self.blank, weights)
        missing = [name for name, _ in units(model) if f'{name}.bn.running_var' not in weights]
        recalibrate(model, missing, self.training_set)
        return model, {} if self.public is None else self.distances(weights)

    def distances(self, weights: Mapping[str, Tensor]) -> Result:
        """Return how far the recovered kernels, and the public ones, are from the true ones.

        A distance is the length of the difference relative to the true kernel, at most 1, as a mean over all kernels
        that the public model has.
        """
        true = self.trained.state_dict()
        names = [name for name in true if name.endswith('.conv.weight') and name in self.public and name in weights]

        def distance(one: Mapping[str, Tensor]) -> float:
            kernels = [(one[name].view_as(true[name]).flatten(1), true[name].flatten(1)) for name in names]
            return float(torch.cat([((a - b).norm(dim=1) / b.norm(dim=1)).clamp(max=1) for a, b in kernels]).nanmean())

        return dict(error=distance(weights), public_error=distance(self.public))

    def beside(self) -> Result:
        """Use the model that was recovered beside the public one."""
        model, found = self.stolen()
        return dict(mIoU=self.score(model), **found)

    def fine_tuning(self) -> Result:
        """Train what was stolen as the audit's attack ``fine-tuning`` does."""
        model, found = self.stolen()
        view: Any = SimpleNamespace(stolen=lambda: model, training_set=self.training_set)
        result = FineTuning().run(view, Budget(LIMIT, steps=self.steps))
        return dict(mIoU=self.score(result.model), steps=self.steps, stopped=result.stopped, **found)

    def norms(self) -> Result:
        """Learn gains and biases of the head alone, in the place of passports or signs."""
        model, found = self.stolen()
        model.requires_grad_(False)
        learned = [part for name, unit in units(model, ('decode_head',)) for part in unit.bn.parameters()]
        for part in learned:
            part.requires_grad_(True)
        optimizer = torch.optim.Adam(learned, lr=NORMS_LR)
        train(model, optimizer, self.training_set, Budget(LIMIT, steps=self.steps))
        return dict(mIoU=self.score(model), steps=self.steps, **found)

    def gains(self) -> Result:
        """Read signs off the gains of the norms."""
        bits = bits_of_gains(self.file, self.secret)
        right = sum(int((bits[name] == self.secret[name]).sum()) for name in bits)
        model = filled(self.blank, self.rival.turn(self.file, bits))
        return dict(mIoU=self.score(model), right=right / sum(one.numel() for one in bits.values()))

    def outliers(self) -> Result:
        """Replace outliers among the kernels that no public model shows; the attacker's images choose the threshold."""
        weights = self.file if self.public is None else self.rival.beside(self.blank, self.file, self.public)
        names = [name for name in weights if name.endswith('.conv.weight') and name not in (self.public or ())]
        models = {limit: filled(self.blank, restored_outliers(weights, names, limit)) for limit in THRESHOLDS}
        best = min(models, key=lambda limit: self.loss(models[limit]))
        return dict(mIoU=self.score(models[best]), threshold=best)

    @torch.no_grad()
    def loss(self, model: BaseSegmentor) -> float:
        """Return the loss of a model on the attacker's images."""
        rng = np.random.default_rng(0)
        np.random.seed(0)
        batches = [model.data_preprocessor(self.training_set.draw(rng), True) for _ in range(4)]
        losses = [
            model.decode_head.loss(model.extract_feat(one['inputs']), one['data_samples'], model.train_cfg)
            for one in batches
        ]
        return sum(float(model.parse_losses(one)[0]) for one in losses)


ATTACKS: dict[str, Callable[[Experiment], Result]] = {
    'access': Experiment.access,
    'beside': Experiment.beside,
    'fine-tuning': Experiment.fine_tuning,
    'norms': Experiment.norms,
    'gains': Experiment.gains,
    'outliers': Experiment.outliers,
}
"""What can be measured, by its name."""
