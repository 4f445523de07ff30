"""Reproduce the tables of docs/results.md and docs/security/audit.md: run missing cells, then write the tables.

A cell is one experiment; its result is a JSON file in docs/results/cells. A cell whose file exists is not run again.
Data are read from data/, see configs/README.md. Checkpoints and logs are written to work_dirs/reproduce.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.paper.audit_models import attacked, audit
from benchmarks.paper.audit_tables import draw_costs
from benchmarks.paper.cells import CIPHER_WORDS, Binding, Training, key_file
from benchmarks.paper.denial_cells import Denied, DeniedAccess, ManyKeys
from benchmarks.paper.feature_cells import IMAGES, Features, FewImages, UnKeyAttack
from benchmarks.paper.ownership_tables import ownership
from benchmarks.paper.tables import (
    Row,
    Table,
    binding_table,
    denial_table,
    feature_table,
    training_table,
    worst_keys_table,
    write_table,
)
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.files import replace_file

ROOT = Path(__file__).resolve().parents[2]
PAGE, AUDIT_PAGE = Path('docs/results.md'), Path('docs/security/audit.md')
COSTS = Path('docs/images/audit_cost.png')
SEEDS = (0, 1, 2)
SEGFORMER = 'segformer_mit-b0{}_1xb8-0.4k_camvid-160x160'
DEEPLAB = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
DEEPLAB_VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
PSPNET = 'pspnet_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
IMAGE_CIPHER = ('shuffle', 'negative-positive')
OURS = '**shuffle + negative-positive, block stem**'


def trained(label: str, config: str, seeds: tuple[int, ...]) -> Row:
    """Return a row of models trained with several seeds."""
    return Row(label, [Training(config, seed) for seed in seeds])


def published(model: str, seeds: dict[int, tuple[int, ...]]) -> list[Row]:
    """Return rows for the unprotected model, and for every cipher used as published, with the model's own stem.

    Args:
        model: Name of the configs, with ``{}`` in the place of the protection.
        seeds: Seeds by block size.
    """
    rows = [trained('unprotected', model.format(''), max(seeds.values(), key=len))]
    for word, words in CIPHER_WORDS.items():
        for size, those in seeds.items():
            rows.append(trained(f'{words}, M = {size}', model.format(f'_{word}-b{size}'), those))
    return rows


def fine_tuning(model: str, seeds: tuple[int, ...]) -> list[Row]:
    """Return rows for the unprotected model, every cipher as published, and a block stem, all with M = 4."""
    unprotected, *others = published(model, {4: seeds})
    if len(seeds) == 1:  # two seeds at least, to show the spread
        unprotected = trained(unprotected.label, model.format(''), (0, 1))
    return [unprotected, *others, trained(f'{OURS}, M = 4', model.format('_shfnp-b4-stem'), seeds)]


def features(model: str, stages: tuple[str, ...], best: tuple[int, ...], against: tuple[str, ...] = ()) -> list[Row]:
    """Return rows for a model with keys at single stages, at every stage or at every block, with attacks on each.

    Args:
        model: Name of the configs, with ``{}`` in the place of the protection.
        stages: Stages that rows of their own encrypt.
        best: Seeds of the model with keys at every stage and in the images.
        against: Training methods against attackers, ``denial`` or ``unkey``, one more row each.
    """
    configs = {
        f'every stage, images: trained with {word}': model.format(f'_shfnp-b4-stem-features-{word}') for word in against
    }
    model, images = model.format(''), IMAGE_CIPHER

    def row(label: str, seeds: tuple[int, ...] = (0,), counts: tuple[int, ...] = IMAGES, **options: Any) -> Row:
        cells = [Features(model, seed, **options) for seed in seeds]
        return Row(label, [*cells, *(UnKeyAttack(model, cell.seed, cell, count) for cell in cells for count in counts)])

    return [
        row('images alone, block stem', places=(), cipher=images),
        *(row(f'stage {stage}', places=(stage,), counts=IMAGES[:1]) for stage in stages),
        row('every stage'),
        row('every block: shuffle', places=('blocks',), feature_cipher=('shuffle',)),
        row('**every stage, images**', best, cipher=images),
        Row(
            'the same, an attacker with 600 steps',
            [UnKeyAttack(model, 0, Features(model, cipher=images), IMAGES[-1], 600)],
        ),
        row(
            'every stage, every block, images: shuffle',
            places=('all', 'blocks'),
            cipher=images,
            feature_cipher=('shuffle',),
        ),
        *(trained(label, config, (0,)) for label, config in configs.items()),
        row('every stage, trained with it', counts=IMAGES[:1], trained=True),
        row('every block, trained with it', counts=IMAGES[:1], places=('blocks',), trained=True),
        Row('none: trained on those images alone', [FewImages(model, 0, count) for count in IMAGES]),
    ]


def denials() -> list[Row]:
    """Return rows for bound models that are fine-tuned with denial."""
    drawn = 'segformer_mit-b0_1xb8-0.4k_demo-128x128'
    models: dict[str, dict[str, Any]] = {
        'SegFormer-B0, CamVid: images': dict(config=SEGFORMER.format('')),
        'the same, with hard keys': dict(config=SEGFORMER.format(''), hard=0.25),
        'SegFormer-B0, CamVid: images and every stage': dict(config=SEGFORMER.format(''), places=('all',)),
        'PSPNet, MobileNetV2, CamVid: images': dict(config=PSPNET.format('')),
        'DeepLabV3+, MobileNetV2, CamVid: images': dict(config=DEEPLAB.format('')),
        'SegFormer-B0, drawn scenes: images': dict(config=drawn, split='train'),
    }
    rows = []
    for label, options in models.items():
        options = dict(places=(), cipher=IMAGE_CIPHER) | options
        cells = [Denied(seed=seed, **options) for seed in SEEDS]
        rows.append(Row(label, [*cells, *(DeniedAccess(one.config, one.seed, of=one) for one in cells)]))
    return rows


def worst_keys() -> list[Row]:
    """Return rows for the worst wrong keys, and attacks, before and after a fine-tuning with denial."""
    options: dict[str, Any] = dict(config=SEGFORMER.format(''), places=(), cipher=IMAGE_CIPHER)
    models = {
        'before': Features(**options),
        'denial': Denied(**options),
        'denial, hard keys': Denied(**options, hard=0.25),
    }
    attacks = ('hill-climbing-labels', 'hill-climbing-entropy', 'un-key', 'fine-tuning')
    large = Features(**options, block_size=16)
    rows = [
        Row(
            f'SegFormer-B0, CamVid: images, {label}',
            [
                ManyKeys(of.config, of=of),
                audit(of, attacks, 'denial', minutes=2),
                audit(of, ('query-masks',), 'queries', minutes=5),
            ],
        )
        for label, of in models.items()
    ]
    return [*rows, Row('the same, M = 16, before', [audit(large, ('query-masks',), 'queries', minutes=5)])]


AUDIT = attacked(SEGFORMER)
TABLES: dict[str, tuple[Table, list[Row]]] = {
    'bound': (
        binding_table,
        [
            Row(
                'DeepLabV3, MobileNetV2: 440 images of VOC, M = 4',
                [
                    Binding(
                        'deeplabv3_mobilenet-v2-d16_voc440-516x516',
                        weights='data/weights/deeplabv3_mobilenetv2_voc.pth',
                    )
                ],
            ),
            Row('SegFormer-B0: CamVid, M = 4', [Binding(SEGFORMER.format(''))]),
            Row('PSPNet, MobileNetV2: CamVid, M = 4', [Binding(PSPNET.format(''))]),
            Row(
                'SETR naive, ViT-S/14: CamVid, M = 14',
                [Binding('setr_vit-s14_naive_1xb8-0.2k_camvid-168x168', block_size=14)],
            ),
        ],
    ),
    'fine-tuning-camvid': (training_table, fine_tuning(DEEPLAB, SEEDS)),
    'fine-tuning-voc': (training_table, fine_tuning(DEEPLAB_VOC, (0,))),
    'scratch': (
        training_table,
        [
            trained('unprotected, own stem', SEGFORMER.format(''), SEEDS),
            trained('unprotected, block stem', SEGFORMER.format('_b4-stem'), SEEDS),
            trained(OURS, SEGFORMER.format('_shfnp-b4-stem'), SEEDS),
            trained('shuffle + negative-positive, own stem', SEGFORMER.format('_shfnp-b4'), SEEDS),
        ],
    ),
    'published-segformer': (training_table, published(SEGFORMER, {2: (0,), 4: SEEDS, 8: (0,), 16: (0,)})),
    'published-deeplabv3plus': (training_table, published(DEEPLAB, {4: SEEDS, 16: (0,)})),
    'published-pspnet': (training_table, published(PSPNET, {4: (0,)})),
    'features-segformer': (feature_table, features(SEGFORMER, ('0', '1', '2', '3'), SEEDS, ('denial', 'unkey'))),
    'features-deeplabv3plus': (feature_table, features(DEEPLAB, ('1', '2', '4', '6'), (0,))),
    'denial': (denial_table, denials()),
    'worst-keys': (worst_keys_table, worst_keys()),
    **ownership(SEGFORMER.format('')),
    **AUDIT,
}
"""Every table by its name: the function that makes it, and its rows."""


def page_of(table: str) -> Path:
    """Return the page that shows a table."""
    return AUDIT_PAGE if table in AUDIT else PAGE


def choose(word: str) -> list[str]:
    """Return the names of the tables that a word selects: the word itself, or what begins with it and a dash."""
    if not (chosen := [name for name in TABLES if name == word or name.startswith(f'{word}-')]):
        raise argparse.ArgumentTypeError(
            f'expected one of {", ".join(TABLES)}, or the first part of several names, but got {word!r}'
        )
    return chosen


def main() -> None:
    """Run the missing cells of the tables, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'tables',
        nargs='+',
        type=choose,
        metavar='TABLE',
        help=f'{", ".join(TABLES)}, or the first part of several names',
    )
    parser.add_argument('--only', default='', help='run only cells whose name contains this text')
    parser.add_argument('--no-run', action='store_true', help='run nothing; write the tables from the cells that exist')
    parser.add_argument('--jobs', type=int, default=1, help='cells to run at a time, one thread each; default: 1')
    args = parser.parse_args()
    os.chdir(ROOT)
    tables = dict.fromkeys(name for names in args.tables for name in names)
    cells = {cell.name: cell for name in tables for row in TABLES[name][1] for cell in row.cells}
    missing = [cell for cell in cells.values() if not cell.file.exists() and args.only in cell.name]
    if not args.no_run:
        for cell in missing:
            key_file(cell.seed)
        if any('_demo-' in cell.name for cell in missing):
            write_demo_scenes('work_dirs/demo/scenes')
        with ThreadPoolExecutor(args.jobs) as pool:
            for number, _ in enumerate(pool.map(lambda cell: cell.run(), missing), 1):
                print(f'{number} of {len(missing)} cells', file=sys.stderr, flush=True)
    for name in tables:
        make, rows = TABLES[name]
        table, page = make(rows), page_of(name)
        replace_file(page, write_table(page.read_text(), name, table))
        print(f'\n{name}\n{table}')
    if 'audit-cost' in tables:
        draw_costs(TABLES['audit-cost'][1], COSTS)


if __name__ == '__main__':
    main()
