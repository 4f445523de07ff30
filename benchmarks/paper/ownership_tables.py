"""The tables on marked copies, and their rows."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.ownership_attacks import ATTACKS
from benchmarks.paper.ownership_cells import STRENGTHS, ForeignScores, MarkPrice, MarkSurvival
from benchmarks.paper.ownership_training import Distilled, TunedCopy
from benchmarks.paper.tables import Row, Table, make_table

DEEPLAB = 'deeplabv3_mobilenet-v2-d16_voc440-516x516'
DEEPLAB_TRAINED = 'deeplabv3_mobilenet-v2-d16_1xb8-0.3k_voc440-256x256'
REAL = 'data/weights/deeplabv3_mobilenetv2_voc.pth'
IMAGES = 150
"""Number of images of VOC on which the price of the default strength is measured."""


SURVIVORS = ('SegFormer-B0', 'PSPNet', 'DeepLabV3')
"""The models of the table of survival."""


def price_table(rows: list[Row]) -> str:
    """Return a table of what marks of several strengths cost."""

    def line(row: Row, results: list[dict]) -> list[str]:
        (one,) = results
        scores = [f'{one["plain"]:.2f}', f'{one["protected"]:.2f}', f'{one["protected"] - one["plain"]:+.2f}']
        return [*scores, f'{one["logits"]:.3f} of {one["logit_range"]:.1f}', f'{one["pixels"]:.3f}', f'{one["images"]}']

    fields = ['mIoU, original', 'mIoU, copy', 'change', 'largest change of a logit', 'same class, % of pixels']
    return make_table('model, strength', [*fields, 'images'], rows, line)


def survival_table(rows: list[Row]) -> str:
    """Return a table of what marks survive: the cells of a row are those of :data:`SURVIVORS`, in order."""
    names = [*(f'z, {strength:g}' for strength in STRENGTHS), 'mIoU']
    fields = [f'{model}: {name}' for model in SURVIVORS for name in names]

    def line(row: Row, results: list[dict]) -> list[str]:
        if len(results) < len(row.cells):
            return ['missing'] * (len(fields) + 1)
        columns = []
        for one in results:
            columns += [*(f'{one[f"z_{x:g}"]:.1f}' for x in STRENGTHS), f'{one["mIoU"]:.2f}' if 'mIoU' in one else '-']
        return [*columns, ', '.join(map(_aligned, results))]

    return make_table('attack', [*fields, 'aligned'], rows, line)


def tuned_table(rows: list[Row]) -> str:
    """Return a table of what marks survive of a training: the cells of a row have the two strengths, or the first."""
    fields = ['mIoU', *(f'z, {strength:g}' for strength in STRENGTHS), 'aligned']

    def line(row: Row, results: list[dict]) -> list[str]:
        if len(results) < len(row.cells):
            return ['missing'] * len(fields)
        scores = [f'{one["z"]:.1f}' for one in results] + [''] * (len(STRENGTHS) - len(results))
        return [f'{results[0]["mIoU"]:.2f}', *scores, _aligned(results[0])]

    return make_table('trained by somebody', fields, rows, line)


def foreign_table(rows: list[Row]) -> str:
    """Return a table of the scores of recipients who got no copy."""

    def line(row: Row, results: list[dict]) -> list[str]:
        (one,) = results
        scores = [f'{one[name]:.2f}' for name in ('mean', 'deviation', 'highest')]
        return [_aligned(one), f'{one["recipients"]}', *scores]

    return make_table('suspect', ['tensors aligned', 'recipients', 'mean z', 'deviation', 'highest z'], rows, line)


def _aligned(result: dict) -> str:
    return f'{result["aligned"]} of {result["compared"]}'


def tunings(
    label: str, counts: tuple[int, ...], of: dict[str, Any], schedule: int, strengths: tuple[float, ...]
) -> list[Row]:
    """Return rows for one model that somebody fine-tunes, one cell for each strength.

    Args:
        label: What the rows call the model.
        counts: Numbers of training images, beside all of them.
        of: The fields of the cells that name the model.
        schedule: Iterations of the config.
        strengths: Strengths of the mark.
    """
    trainings: dict[str, dict[str, Any]] = {
        '300 iterations, a fifth of the learning rate': {},
        **{f'the same, {count} images': dict(images=count) for count in counts},
        f'the whole schedule again: {schedule} iterations, full learning rate': dict(iterations=schedule, lr_scale=1.0),
    }
    return [
        Row(f'{label}: {name}', [TunedCopy(**of, strength=strength, **options) for strength in strengths])
        for name, options in trainings.items()
    ]


def ownership(segformer: str, pspnet: str, setr: str) -> dict[str, tuple[Table, list[Row]]]:
    """Return the tables on marked copies: each function and its rows, by the name of the table.

    Args:
        segformer: Name of the SegFormer-B0 config.
        pspnet: Name of the PSPNet config.
        setr: Name of the SETR config.
    """
    real = dict(config=DEEPLAB, weights=REAL)
    low, high = STRENGTHS
    prices = [
        *(Row(f'SegFormer-B0, CamVid: {x:g}', [MarkPrice(segformer, strength=x)]) for x in STRENGTHS),
        Row(f'DeepLabV3, MobileNetV2, VOC: {low:g}', [MarkPrice(**real, strength=low, images=IMAGES)]),
        Row(f'DeepLabV3, MobileNetV2, VOC: {high:g}', [MarkPrice(**real, strength=high)]),
        Row(f'PSPNet, MobileNetV2, CamVid: {low:g}', [MarkPrice(pspnet, strength=low)]),
        Row(f'SETR, ViT-S/14, CamVid: {low:g}', [MarkPrice(setr, strength=low)]),
    ]
    survivals = [
        Row(
            attack,
            [
                MarkSurvival(segformer, attack=attack),
                MarkSurvival(pspnet, attack=attack),
                MarkSurvival(DEEPLAB_TRAINED, weights=REAL, attack=attack),
            ],
        )
        for attack in ATTACKS
    ]
    tuned = [
        *tunings('SegFormer-B0', (4, 8, 37), dict(config=segformer), 400, STRENGTHS),
        *tunings('PSPNet', (4, 37), dict(config=pspnet), 300, STRENGTHS[:1]),
        *tunings('DeepLabV3, VOC', (3, 33), dict(config=DEEPLAB_TRAINED, weights=REAL), 300, STRENGTHS[:1]),
    ]
    tuned.append(Row('SegFormer-B0: distilled from the masks', [Distilled(segformer, strength=x) for x in STRENGTHS]))
    suspects = [
        Row('a marked copy of SegFormer-B0', [ForeignScores(segformer)]),
        Row('SegFormer-B0 trained apart, another seed', [ForeignScores(segformer, apart=1)]),
        Row('SegFormer-B0 trained apart, a third seed', [ForeignScores(segformer, apart=2)]),
        Row('PSPNet trained apart, another seed', [ForeignScores(pspnet, apart=1)]),
    ]
    return {
        'ownership-price': (price_table, prices),
        'ownership-survival': (survival_table, survivals),
        'ownership-tuning': (tuned_table, tuned),
        'ownership-foreign': (foreign_table, suspects),
    }
