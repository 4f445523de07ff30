"""What an attacker does to a stolen model before an attack, and to the configuration that it comes with."""

from __future__ import annotations

import copy

import numpy as np
import torch
from mmengine.config import Config
from mmseg.models.segmentors import BaseSegmentor
from torch import nn

from benchmarks.paper.rivals.base import State
from mmseg_keyprotect.audit.training import AttackerTrainingSet


@torch.no_grad()
def recalibrate(model: nn.Module, names: list[str], training_set: AttackerTrainingSet) -> None:
    """Estimate the statistics of some batch norms from plain images, as whoever lacks them does.

    Args:
        model: A segmentor in eval mode; it is changed.
        names: The units whose norms lack statistics. Their gains become 1 and their biases 0.
        training_set: The attacker's images.
    """
    rng = np.random.default_rng(0)
    np.random.seed(0)
    norms = [model.get_submodule(f'{name}.bn') for name in names]
    for norm in norms:
        norm.reset_parameters()
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    for _ in range(4 if norms else 0):
        model(model.data_preprocessor(training_set.draw(rng), True)['inputs'], mode='tensor')
    for norm in norms:
        norm.eval()
        norm.momentum = 0.1


def whole_names(weights: State, model: BaseSegmentor) -> State:
    """Return weights under the names of the segmentor; those of a backbone alone lack its prefix."""
    own = model.state_dict()
    return {name if name in own else f'backbone.{name}': value for name, value in weights.items()}


def plain_config(cfg: Config) -> Config:
    """Return a configuration with the plain head in the place of one with passports."""
    cfg = Config(copy.deepcopy(cfg.to_dict()), filename=cfg.filename)
    if cfg.model.decode_head.type == 'PassportHead':
        cfg.model.decode_head.type = 'DepthwiseSeparableASPPHead'
        cfg.model.decode_head.pop('passport_seed', None)
    return cfg
