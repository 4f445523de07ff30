"""Attack a model whose private part stays away, by an own model from public weights.

The attacker starts from the public weights, and has every image that the untrusted machine sees. They train either on
labelled images, which is what anybody can do (the black-box bound), or on the masks or scores that the victim gives for
crops of these images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from torch import Tensor

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import BATCH, AttackerTrainingSet, segmentation_loss, train
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.session.images import TestImages, spaced
from mmseg_keyprotect.session.scores import Scores

WARM_UP = 0.1
"""The share of the training in which the learning rate rises."""


class Answers(AttackerTrainingSet):
    """Crops of an attacker's images with the victim's answers in the place of labels.

    Args:
        victim: The model that answers.
        images: The attacker's images, without labels.
        queries: The number of crops that the victim is asked about, each once.
        scores: Whether the victim gives the score of every class; else the class of each pixel.
    """

    def __init__(self, victim: BaseSegmentor, images: AttackerTrainingSet, queries: int, scores: bool) -> None:
        super().__init__(images.cfg, images.source, images.indices)
        rng = np.random.default_rng(0)
        np.random.seed(0)  # MMSegmentation's transforms draw from numpy's global generator
        self._crops: list[dict[str, Any]] = []
        while len(self._crops) < queries:
            batch = images.draw(rng)
            data = victim.data_preprocessor(dict(inputs=list(batch['inputs'])), False)
            with torch.no_grad():
                logits = victim(data['inputs'], mode='tensor')
            for crop, sample, one in zip(batch['inputs'], batch['data_samples'], logits, strict=True):
                if scores:
                    sample.answer = PixelData(data=one.softmax(0).half())
                else:
                    whole = F.interpolate(one[None], crop.shape[1:], mode='bilinear', align_corners=False)
                    sample.gt_sem_seg = PixelData(data=whole.argmax(1))
                self._crops.append(dict(inputs=crop, data_samples=sample))
        del self._crops[queries:]

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a batch."""
        return pseudo_collate([self._crops[int(index)] for index in rng.integers(len(self._crops), size=BATCH)])


def score_loss(model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
    """Return the cross entropy between the victim's scores and those of each head, at the resolution of the scores."""
    scores = torch.stack([sample.answer.data.float() for sample in data['data_samples']])
    features, total = model.extract_feat(data['inputs']), scores.new_zeros(())
    for head in (model.decode_head, *([model.auxiliary_head] if model.with_auxiliary_head else [])):
        logits = F.interpolate(head(features), scores.shape[2:], mode='bilinear', align_corners=False)
        total = total - head.loss_decode.loss_weight * (scores * logits.log_softmax(1)).sum(1).mean()
    return total


@torch.no_grad()
def compared(model: BaseSegmentor, victim: BaseSegmentor, images: TestImages) -> dict[str, float]:
    """Return the mIoU of the attacker's model and of the victim, and the share of pixels of the same class."""
    counts, same, total = np.zeros((2, 3, len(images.classes))), 0, 0
    for index in range(len(images)):
        found = [one.eval().test_step(images.batch(index))[0] for one in (model, victim)]
        counts += np.stack([images.pixels(one) for one in found])
        first, second = (one.pred_sem_seg.data for one in found)
        same, total = same + int((first == second).sum()), total + first.numel()
    own, stolen = (Scores.from_counts(one).mIoU for one in counts)
    return dict(mIoU=own, victim=stolen, agreement=round(100 * same / total, 1))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.paper.side_attack', description=__doc__)
    parser.add_argument('config', help="the victim's configuration")
    parser.add_argument('checkpoint', help="the victim's checkpoint")
    parser.add_argument('--own', required=True, help="configuration of the attacker's model")
    parser.add_argument('--labels', type=int, default=0, help='labelled images that the attacker has')
    parser.add_argument(
        '--queries', type=int, default=0, help='crops that the victim is asked about, in place of labels'
    )
    parser.add_argument('--scores', action='store_true', help='the victim answers with scores in place of masks')
    parser.add_argument('--steps', type=int, required=True, help=f'training steps of {BATCH} crops')
    parser.add_argument('-o', '--out', type=Path, required=True, help='JSON file to write')
    return parser


def main() -> None:
    """Attack, and write the result."""
    args = build_parser().parse_args()
    cfg, own = load_quietly(args.config), load_quietly(args.own)
    victim = build_model(cfg)
    load_strictly(victim, read_checkpoint(args.checkpoint)[0])
    source = own.train_dataloader.dataset
    everything = np.arange(len(DATASETS.build(source)))
    count = args.labels or len(everything)
    training_set = AttackerTrainingSet(own, source, spaced(everything, count).tolist(), labelled=not args.queries)
    if args.queries:
        training_set = Answers(victim, training_set, args.queries, args.scores)
    torch.manual_seed(0)
    model = build_model(own)
    model.init_weights()
    model.train()
    with TaskProgress('  seconds', 3600) as progress:
        budget = Budget(3600, progress, args.steps)
        loss = score_loss if args.scores else segmentation_loss
        steps = train(model, training_set.optimizer(model), training_set, budget, WARM_UP, loss)
        seconds = round(budget.spent)
    result = dict(compared(model, victim, TestImages(cfg)), steps=steps, seconds=seconds)
    replace_file(args.out, json.dumps(result) + '\n')
    print(result)


if __name__ == '__main__':
    main()
