"""Cells on models with a public backbone and a private side network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paper.cells import Training, find_config
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.protection.checkpoints import build_model


@dataclass(frozen=True)
class PrivateSide(Training):
    """A model on a public backbone, trained like any other.

    Args:
        width: The width of the side network; 0 for none, so that the head reads the public feature maps.
        head: The channels of the decode head; 0 for those of the config.
        reads: ``out_indices`` of the backbone; empty for those of the config.
        depth: The blocks in each stage of the side network.
    """

    width: float = 0.25
    head: int = 0
    depth: int = 1

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        parts = [
            f'side-{self.width:g}',
            *[f'head{self.head}'] * bool(self.head),
            *[f'depth{self.depth}'] * (self.depth > 1),
        ]
        return f'{"-".join(parts)}_{super().name}'

    def source(self) -> Path:
        """Return the path of the config with this side network."""
        neck = f'neck=dict(width={self.width}, depth={self.depth})' if self.width else 'neck=None'
        head = f', decode_head=dict(channels={self.head})' if self.head else ''
        file = self.work / f'{self.config}.py'
        self.work.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(str(find_config(self.config)), self.work)
        replace_file(file, f"_base_ = '{base}'\nmodel = dict({neck}{head})\n")
        return file

    def measure(self) -> dict[str, Any]:
        """Train, validate, and count the parameters and the arithmetic of both parts."""
        return {**super().measure(), **shares(load_quietly(self.source()))}


def shares(cfg: Config) -> dict[str, int]:
    """Return what the public and the private part hold and compute for one image of the training size.

    Auxiliary heads do not count: they only help to train.

    Args:
        cfg: A configuration with a PrivateSideSegmentor.

    Returns:
        ``public_parameters``, ``private_parameters``, ``public_macs``, ``private_macs`` (multiplications with
        additions), and ``feature_values``, the numbers that go from one part to the other.
    """
    model = build_model(cfg).eval()
    images = torch.zeros(1, 3, *model.data_preprocessor.size)
    with torch.no_grad():
        with FlopCounterMode(display=False) as public:
            features = model.public_features(images)
        with FlopCounterMode(display=False) as private:
            model.decode_head(model.neck(features) if model.with_neck else features)

    def count(*modules: torch.nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    return dict(
        public_parameters=count(model.backbone),
        private_parameters=count(model.decode_head, *([model.neck] if model.with_neck else [])),
        public_macs=public.get_total_flops() // 2,
        private_macs=private.get_total_flops() // 2,
        feature_values=sum(feature.numel() for feature in features),
    )
