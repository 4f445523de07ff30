"""A ciphertext-only attack without a key: a network learns to draw the plain image from an encrypted one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CENTRE, CipherInfo
from mmseg_keyprotect.audit.estimators.block_components import COMPONENTS, apply_key, block_components
from mmseg_keyprotect.audit.estimators.key_spaces import random_key
from mmseg_keyprotect.audit.estimators.unet import BlockUNet
from mmseg_keyprotect.audit.picture_quality import WINDOW
from mmseg_keyprotect.audit.training import steps_left_undone
from mmseg_keyprotect.audit.view import View

LR = 4e-3
"""The highest learning rate."""

SCALE = 64.0
"""Grey values in one unit of the network's output."""


class Reconstruction(Attack):
    """Train a small U-Net from encrypted to plain images, over many random keys, then apply it to encrypted images.

    The network gets the principal components of the blocks, which a key does not change. So it serves for every key,
    and sees each encrypted image alone: the attack works as well if every image has a key of its own. It finds no key.
    """

    name = 'reconstruction'
    needs = ('encrypted images', 'plain images')

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Train with one plain image and one new random key in each step, then reconstruct."""
        info, rng = view.cipher_info, np.random.default_rng(0)
        if min(min(image.shape[:2]) for image in view.encrypted) < WINDOW:
            raise NotApplicable(f'an encrypted image is smaller than {WINDOW} x {WINDOW} pixels')
        grids = [info.grid(each) for image in view.plain for each in (image, image[:, ::-1])]
        torch.manual_seed(0)
        network = BlockUNet(COMPONENTS, info.samples)
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=budget.steps + 1)
        steps = 0
        while steps < budget.steps and not budget.over:
            grid = grids[rng.integers(len(grids))]
            wanted = _tensor((grid - CENTRE) / SCALE)
            found = network(_tensor(block_components(apply_key(grid, random_key(info, rng)))))
            optimizer.zero_grad()
            loss = (found - wanted).abs().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            steps += 1
            budget.report(f'step {steps}, error {SCALE * loss.item():.1f}')
        pictures = [self._picture(network, image, info) for image in view.encrypted]
        return AttackResult(
            f'{steps} steps, each with a new random key, on {len(view.plain)} images; one picture of each encrypted '
            'image, made from it alone.',
            pictures=pictures,
            images=len(view.plain) + 1,
            stopped=steps_left_undone(steps, budget),
        )

    @torch.no_grad()
    def _picture(self, network: BlockUNet, image: np.ndarray, info: CipherInfo) -> np.ndarray:
        """Return the reconstruction of an encrypted image, uint8 (H, W, C)."""
        samples = network(_tensor(block_components(info.grid(image))))[0].permute(1, 2, 0).numpy() * SCALE + CENTRE
        return info.image(samples.round().clip(0, 255).astype(np.uint8))


def _tensor(grid: np.ndarray) -> Tensor:
    """Return features of a grid of blocks, (rows, columns, n), as float32 (1, n, rows, columns)."""
    return torch.from_numpy(np.ascontiguousarray(grid.transpose(2, 0, 1)[None], dtype=np.float32))
