"""Cells on models with a public backbone and a private side network: their price, and attacks on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paper.cells import Training, find_config, loading
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.protection.checkpoints import build_model

BACKBONE_RATE = 1e-4
"""The learning rate of the backbone, where the whole model is trained."""
RATE = 0.02
"""The learning rate of new layers: on CamVid for both kinds of models, and in the configs of private sides."""

EVERYWHERE = """\
model['backbone'] = dict(out_indices=(1, 2, 3, 4, 5, 6))
model['neck'].update(in_channels=[24, 32, 64, 96, 160, 320], out_indices=(0, 3, 5))
model['decode_head'].update(in_index=5)
model['auxiliary_head'] = dict(in_index=3)"""
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

KEPT, HELD_OUT = 264, 66
"""Training images of VOC that a training keeps, and others that it is measured on, where a rate is chosen."""
HOLDING_OUT = f"""\
train_dataloader = dict(dataset=dict(indices={KEPT}))
val_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/train.txt', indices=-{HELD_OUT}))
test_dataloader = val_dataloader"""
"""The changes of a training that is measured on training images of VOC which it never sees."""


@dataclass(frozen=True)
class Derived(Training):
    """A model of a config with changes, which is written into the work folder.

    Args:
        iterations: Training iterations in the place of those of the config.
        rate: Learning rate of all that is new; None for ``RATE``.
        held_out: Whether it is measured on training images of VOC that it never sees, to choose a rate.
    """

    iterations: int | None = None
    rate: float | None = None
    held_out: bool = False

    def source(self) -> Path:
        """Return the path of the derived config."""
        file = self.work / f'{self.config}.py'
        self.work.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(str(find_config(self.config)), self.work)
        longer = LONGER.format(count=self.iterations) if self.iterations else ''
        other = HOLDING_OUT if self.held_out else ''
        replace_file(file, f"_base_ = '{base}'\n{self.changes}\n{longer}\n{other}\n")
        return file

    @property
    def changes(self) -> str:
        """The lines that the derived config adds."""
        raise NotImplementedError

    @property
    def _suffix(self) -> str:
        length = f'-{self.iterations}' if self.iterations else ''
        return f'{length}{f"-lr{self.rate:g}" if self.rate else ""}{"-held-out" * self.held_out}'


@dataclass(frozen=True)
class Whole(Derived):
    """The model trained as a whole from public weights, with the heads' rate chosen as that of a private side."""

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'whole{self._suffix}_{super().name}'

    @property
    def changes(self) -> str:
        """A higher learning rate of the heads."""
        times = round((self.rate or RATE) / BACKBONE_RATE)
        return f'optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult={times}))))'


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
        return f'side-{kind}{head}{self._suffix}_{super().name}'

    @property
    def changes(self) -> str:
        """What differs from the config."""
        neck = dict(width=self.width) if self.width else None
        head = dict(channels=self.channels) if self.channels else {}
        changes = [f'model = {dict(neck=neck, decode_head=head)}']
        if self.everywhere:
            changes += [EVERYWHERE]
        if self.rate:
            changes += [f'optim_wrapper = dict(optimizer=dict(lr={self.rate}))']
        if self.teacher:
            changes += [TAUGHT.format(teacher=tuple(os.path.abspath(path) for path in self.teacher.model()))]
        return '\n'.join(changes)

    def measure(self) -> dict[str, Any]:
        """Train, validate, and count the parameters and the arithmetic of both parts."""
        trained = super().measure()
        with loading:
            return {**trained, **shares(load_quietly(self.source()))}


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
