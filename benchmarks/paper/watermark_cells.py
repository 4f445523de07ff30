"""Cells on the watermark: what it costs, whether a claim finds it, and what is left of it after attacks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector

from benchmarks.paper.cells import Cell, Training, find_config, key_file
from benchmarks.paper.tuning import plain_tuning
from mmseg_keyprotect.protection.checkpoints import read_checkpoint

ITERATIONS = 300
"""Iterations of the fine-tuning with the watermark, and of every fine-tuning after it."""

PIRATE = 100
"""A pirate's key is that of the seed and this number."""

QUESTIONS = ('--count', 8, '--random-keys', 99, '--seed', 1)


@dataclass(frozen=True)
class Suspect(Cell):
    """A plain model, marked or not, and what a claim says of it.

    Args:
        done: What was done to the unprotected model, in order: ``mark`` and ``pirate`` (fine-tuning with the owner's
            watermark, and with that of another key), ``tune`` (fine-tuning without), or ``prune`` and a percentage
            (the smallest weights become 0).
    """

    done: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'watermark-{"-".join(self.done) or "none"}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Return the mIoU, and the claims with the owner's key and with the pirate's."""
        config, checkpoint = find_config(self.config), self.checkpoint()
        found = dict(mIoU=self.tested(config, checkpoint), owner=self.claim(checkpoint, self.seed))
        return {**found, 'pirate': self.claim(checkpoint, self.seed + PIRATE)} if 'pirate' in self.done else found

    def claim(self, checkpoint: Path, seed: int) -> dict[str, Any]:
        """Return what a claim with the key of a seed finds."""
        out = self.work / f'claim{seed}'
        key = ('--key-file', key_file(seed))
        self.call(f'claim{seed}.log', 'claim', find_config(self.config), checkpoint, *key, *QUESTIONS, '-o', out)
        claim = json.loads((out / 'claim.json').read_text())
        words = ('own', 'rank', 'p_value', 'holds', 'own_pixels')
        return {word: claim[word] for word in words} | dict(best=max(claim['random']), mean=mean(claim['random']))

    def checkpoint(self) -> Path:
        """Return the checkpoint; make it, and those before it, if it is missing."""
        self.work.mkdir(parents=True, exist_ok=True)
        if not self.done:
            return Training(self.config, self.seed).checkpoint()
        *before, last = self.done
        source, out = Suspect(self.config, self.seed, tuple(before)).checkpoint(), self.work / 'model'
        config, seed = find_config(self.config), f'randomness.seed={self.seed + len(before)}'
        if last in ('mark', 'pirate'):
            key = key_file(self.seed + PIRATE * (last == 'pirate'))
            options = ['--iterations', ITERATIONS, '--key-file', key, '-o', out, '--cfg-options', seed]
            self.call(f'{last}.log', 'watermark', config, source, *options)
            return out / source.name
        if last == 'tune':
            tuning = self.work / 'tune.py'
            plain_tuning(config, source, ITERATIONS, self.seed + len(before)).dump(tuning)
            self.call('tune.log', 'train', tuning, '--work-dir', out)
            return out / f'iter_{ITERATIONS}.pth'
        return self.pruned(source, int(last.removeprefix('prune')))

    def pruned(self, source: Path, percent: int) -> Path:
        """Write a checkpoint whose smallest weights, of all tensors of two or more dimensions together, are 0."""
        target = self.work / 'pruned.pth'
        state, _ = read_checkpoint(source)
        weights = [value for value in state.values() if value.ndim > 1]
        least = parameters_to_vector(weights).abs().kthvalue(max(1, sum(map(torch.numel, weights)) * percent // 100))
        for value in weights:
            value[value.abs() <= least.values] = 0
        torch.save(dict(state_dict=state), target)
        return target
