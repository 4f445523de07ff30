"""The tables on marked copies, and their rows."""

from __future__ import annotations

from benchmarks.paper.ownership_attacks import ATTACKS
from benchmarks.paper.ownership_cells import ForeignScores, MarkPrice, MarkSurvival
from benchmarks.paper.tables import Row, Table, make_table

DEEPLAB = 'deeplabv3_mobilenet-v2-d16_voc440-516x516'
REAL = 'data/weights/deeplabv3_mobilenetv2_voc.pth'


def price_table(rows: list[Row]) -> str:
    """Return a table of what marks of several strengths cost."""

    def line(row: Row, results: list[dict]) -> list[str]:
        (one,) = results
        scores = [f'{one["plain"]:.2f}', f'{one["protected"]:.2f}', f'{one["protected"] - one["plain"]:+.2f}']
        return [*scores, f'{one["logits"]:.3f} of {one["logit_range"]:.1f}', f'{one["pixels"]:.3f}', f'{one["images"]}']

    fields = ['mIoU, original', 'mIoU, copy', 'change', 'largest change of a logit', 'same class, % of pixels']
    return make_table('model, strength', [*fields, 'images'], rows, line)


def survival_table(rows: list[Row]) -> str:
    """Return a table of what marks survive: the first cell of a row is of SegFormer, the second of DeepLabV3."""

    def line(row: Row, results: list[dict]) -> list[str]:
        if len(results) < len(row.cells):
            return ['missing'] * 3
        first, second = results
        score = f'{first["mIoU"]:.2f}' if 'mIoU' in first else '-'
        shares = [f'{one["z"]:.1f} ({one["aligned"]} of {one["compared"]})' for one in (first, second)]
        return [shares[0], score, shares[1]]

    return make_table('attack', ['SegFormer-B0: z (aligned)', 'mIoU', 'DeepLabV3: z (aligned)'], rows, line)


def foreign_table(rows: list[Row]) -> str:
    """Return a table of the scores of recipients who got no copy."""

    def line(row: Row, results: list[dict]) -> list[str]:
        (one,) = results
        aligned = f'{one["aligned"]} of {one["compared"]}'
        return [
            aligned,
            f'{one["recipients"]}',
            f'{one["mean"]:.3f}',
            f'{one["deviation"]:.3f}',
            f'{one["highest"]:.2f}',
        ]

    return make_table('suspect', ['tensors aligned', 'recipients', 'mean z', 'deviation', 'highest z'], rows, line)


def ownership(segformer: str) -> dict[str, tuple[Table, list[Row]]]:
    """Return the tables on marked copies: each function and its rows, by the name of the table.

    Args:
        segformer: Name of the SegFormer-B0 config.
    """
    real = dict(config=DEEPLAB, weights=REAL)
    prices = [Row(f'SegFormer-B0, CamVid: {x:g}', [MarkPrice(segformer, strength=x)]) for x in (0.003, 0.01, 0.03)]
    prices.append(Row('DeepLabV3, MobileNetV2, VOC: 0.003', [MarkPrice(**real)]))
    survivals = [
        Row(attack, [MarkSurvival(segformer, attack=attack), MarkSurvival(**real, attack=attack, scored=False)])
        for attack in ATTACKS
    ]
    suspects = [
        Row('a marked copy of SegFormer-B0', [ForeignScores(segformer)]),
        Row('SegFormer-B0 trained apart, another seed', [ForeignScores(segformer, apart=1)]),
        Row('a marked copy of DeepLabV3', [ForeignScores(**real)]),
    ]
    return {
        'ownership-price': (price_table, prices),
        'ownership-survival': (survival_table, survivals),
        'ownership-foreign': (foreign_table, suspects),
    }
