"""Cells on models with a public backbone and a private side network: their price, and attacks on them."""

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

HEAD_RATE = 200
"""The learning rate of the heads, as a multiple of the backbone's, where the whole model is trained."""


EVERYWHERE = """\
model = dict(
    backbone=dict(out_indices=(1, 2, 3, 4, 5, 6)),
    neck=dict(in_channels=[24, 32, 64, 96, 160, 320], out_indices=(0, 3, 5), width={width}),
    decode_head=dict(in_index=5),
    auxiliary_head=dict(in_index=3),
)"""
"""The changes of a private side that reads every stage of MobileNetV2 but the first."""

TAUGHT = """\
custom_imports = dict(imports=['mmseg_keyprotect', 'benchmarks.paper.distillation'], allow_failed_imports=False)
model.update(type='DistilledPrivateSide', teacher={teacher})"""
"""The changes of a private side that learns from a whole model."""

LONGER = """\
train_cfg = dict(max_iters={count}, val_interval={count})
default_hooks = dict(checkpoint=dict(interval={count}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=30, end={count}, by_epoch=False),
]"""
"""The changes of a longer training."""


@dataclass(frozen=True)
class Derived(Training):
    """A model of a config with changes, which is written into the work folder.

    Args:
        iterations: Training iterations in the place of those of the config.
    """

    iterations: int | None = None

    def source(self) -> Path:
        """Return the path of the derived config."""
        file = self.work / f'{self.config}.py'
        self.work.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(str(find_config(self.config)), self.work)
        longer = LONGER.format(count=self.iterations) if self.iterations else ''
        replace_file(file, f"_base_ = '{base}'\n{self.changes}\n{longer}\n")
        return file

    @property
    def changes(self) -> str:
        """The lines that the derived config adds."""
        raise NotImplementedError

    @property
    def _length(self) -> str:
        return f'-{self.iterations}' if self.iterations else ''


@dataclass(frozen=True)
class Whole(Derived):
    """The model trained as a whole from public weights, with the heads' rate chosen as that of a private side."""

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'whole{self._length}_{super().name}'

    @property
    def changes(self) -> str:
        """A higher learning rate of the heads."""
        return f'optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult={HEAD_RATE}))))'


@dataclass(frozen=True)
class PrivateSide(Derived):
    """A model on a public backbone, trained like any other.

    Args:
        width: The width of the side network; 0 for none, so that the head reads the public feature maps.
        everywhere: Whether it reads six stages of MobileNetV2 in place of four.
        channels: Channels of the decode head; None for those of the config.
        teacher: A model that it learns from, beside the labels.
    """

    width: float = 0.25
    everywhere: bool = False
    channels: int | None = None
    teacher: Whole | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        kind = f'{self.width:g}{"-everywhere" * self.everywhere}{"-taught" * bool(self.teacher)}'
        head = f'-head{self.channels}' if self.channels else ''
        return f'side-{kind}{head}{self._length}_{super().name}'

    @property
    def changes(self) -> str:
        """What differs from the config."""
        if self.everywhere:
            return EVERYWHERE.format(width=self.width)
        neck = dict(width=self.width) if self.width else None
        head = dict(channels=self.channels) if self.channels else {}
        changes = f'model = {dict(neck=neck, decode_head=head)}'
        if not self.teacher:
            return changes
        teacher = tuple(os.path.abspath(path) for path in self.teacher.model())
        return f'{changes}\n{TAUGHT.format(teacher=teacher)}'

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
