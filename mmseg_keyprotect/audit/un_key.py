"""The learned un-key: free linear layers in the place of the key, trained on a few labelled plain images.

Whoever has readable weights freezes them, puts a linear layer on the blocks of plain images before the network, and a
1x1 convolution at every place whose feature map is encrypted, and trains those alone. He does not look for the key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from torch import Tensor, nn

from mmseg_keyprotect.engine.pipelines import TRANSFORM
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.scores import Scores
from mmseg_keyprotect.evaluation.users import User

BATCH = 4
BLOCKS_LR, MAPS_LR = 1e-2, 3e-2  # the better ones of 0.003, 0.01 and 0.03 on SegFormer-B0 with 8 images


class BlockLinear(nn.Conv2d):
    """A free linear map of the n samples of every M x M block of an image; it begins as the identity.

    Args:
        channels: C, of the image.
        block_size: M.
    """

    def __init__(self, channels: int, block_size: int) -> None:
        samples = channels * block_size**2
        super().__init__(samples, samples, 1)
        self.block_size = block_size
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W), H and W multiples of M."""
        return F.pixel_shuffle(super().forward(F.pixel_unshuffle(images, self.block_size)), self.block_size)


class ChannelLinear(nn.Linear):
    """A free 1x1 convolution of a feature map, on whichever dimension its channels are; it begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, dim: int) -> Tensor:
        """Map a feature map with channels at ``dim``."""
        return super().forward(x.movedim(dim, -1)).movedim(-1, dim)


class UnKey(nn.Module):
    """What a thief puts in the place of the key.

    Args:
        evaluation: The protected model.
    """

    def __init__(self, evaluation: AccessEvaluation) -> None:
        super().__init__()
        cipher, features = evaluation.correct.cipher, evaluation.features
        self.blocks = None if cipher is None else BlockLinear(3, cipher.block_size)
        places = [] if features is None else features.places
        self.maps = nn.ModuleList([ChannelLinear(place.channels) for place in places])
        self.user = User('thief', None, {place.name: one for place, one in zip(places, self.maps, strict=True)})
        self.evaluation = evaluation

    @contextmanager
    def installed(self) -> Iterator[nn.Module]:
        """Give the protected model with the un-key in it, within this block."""
        with self.evaluation.using(self.user) as model:
            hook = self.blocks and model.backbone.register_forward_pre_hook(lambda module, args: self.blocks(args[0]))
            try:
                yield model
            finally:
                if hook:
                    hook.remove()


def train_un_key(evaluation: AccessEvaluation, cfg: Config, images: int, steps: int, seed: int = 0) -> UnKey:
    """Train an un-key on plain labelled images of the training set, evenly spaced; the model stays as it is.

    Args:
        evaluation: The protected model.
        cfg: Of it, with ``train_dataloader``.
        images: How many images the thief has.
        steps: Of Adam, of batches of 4, the learning rate falling to 0 as a cosine.
        seed: Of the order of the images, of crops and flips.

    Raises:
        ConfigError: The training set has fewer images.
    """
    dataset = labelled_images(cfg, images)
    un_key = UnKey(evaluation)
    parts = {BLOCKS_LR: un_key.blocks.parameters() if un_key.blocks else [], MAPS_LR: un_key.maps.parameters()}
    groups = [dict(params=list(parameters), lr=lr) for lr, parameters in parts.items()]
    optimizer = torch.optim.Adam([group for group in groups if group['params']])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    np.random.seed(seed)  # which MMSegmentation's transforms draw from
    with un_key.installed() as model:
        model.eval().requires_grad_(False)
        for _ in range(steps):
            batch = pseudo_collate([dataset[int(index)] for index in rng.integers(len(dataset), size=BATCH)])
            data = model.data_preprocessor(batch, True)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return un_key


def labelled_images(cfg: Config, images: int) -> torch.utils.data.Dataset:
    """Return plain training images with labels, evenly spaced over the training set.

    Raises:
        ConfigError: The training set has fewer.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    config = copy.deepcopy(cfg.train_dataloader.dataset)
    config.pipeline = [step for step in config.pipeline if step['type'] != TRANSFORM]
    dataset = DATASETS.build(config)
    if not 0 < images <= len(dataset):
        raise ConfigError(f'Expected 1 to {len(dataset)} images, which the training set has, but got {images}.')
    return torch.utils.data.Subset(dataset, np.linspace(0, len(dataset) - 1, images).round().astype(int).tolist())


@torch.no_grad()
def score(un_key: UnKey) -> float:
    """Return the mIoU that the thief reaches on the test images, in percent."""
    evaluation = un_key.evaluation
    with un_key.installed():
        counts = [evaluation.pixels(un_key.user, index) for index in range(len(evaluation.images))]
    return Scores.from_counts(np.sum(counts, axis=0)).mIoU
