"""The models of docs/results.md: every table with its rows."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.audit_models import audit
from benchmarks.paper.cells import CIPHER_WORDS, Binding, Training
from benchmarks.paper.denial_cells import Denied, DeniedAccess, ManyKeys
from benchmarks.paper.feature_cells import IMAGES, Features, FewImages, UnKeyAttack
from benchmarks.paper.ownership_tables import ownership
from benchmarks.paper.rival_models import leaderboard
from benchmarks.paper.rival_tables import leaderboard_table
from benchmarks.paper.tables import (
    Row,
    Table,
    binding_table,
    denial_table,
    feature_table,
    training_table,
    watermark_table,
    worst_keys_table,
)
from benchmarks.paper.watermark_cells import Suspect

SEEDS = (0, 1, 2)
SEGFORMER = 'segformer_mit-b0{}_1xb8-0.4k_camvid-160x160'
DEEPLAB = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
DEEPLAB_VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
PSPNET = 'pspnet_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
SETR = 'setr_vit-s14_naive_1xb8-0.2k_camvid-168x168'
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
    short = dict(iterations=400, wrong_keys=4)
    models: dict[str, dict[str, Any]] = {
        'SegFormer-B0, CamVid: images': dict(config=SEGFORMER.format('')),
        'the same, 400 iterations': dict(config=SEGFORMER.format(''), **short),
        'SegFormer-B0, CamVid: images and every stage': dict(config=SEGFORMER.format(''), places=('all',)),
        'the same, 2400 iterations': dict(config=SEGFORMER.format(''), places=('all',), iterations=2400),
        'PSPNet, MobileNetV2, CamVid: images; 400 iterations': dict(config=PSPNET.format(''), **short),
        'DeepLabV3+, MobileNetV2, CamVid: images': dict(config=DEEPLAB.format('')),
        'SETR, ViT-S/14, CamVid: images; 300 iterations': dict(
            config=SETR, block_size=14, **short | dict(iterations=300)
        ),
        'SegFormer-B0, drawn scenes: images; 400 iterations': dict(config=drawn, split='train', **short),
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
        'denial, 400 iterations': Denied(**options, iterations=400, wrong_keys=4),
        'denial, 600 iterations': Denied(**options),
    }
    attacks = ('hill-climbing-labels', 'hill-climbing-entropy', 'un-key', 'fine-tuning')
    large = Features(**options, block_size=16)
    short = dict(iterations=400, wrong_keys=4)
    others = {'DeepLabV3+, MobileNetV2': (DEEPLAB.format(''), {}), 'PSPNet, MobileNetV2': (PSPNET.format(''), short)}
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
    rows.append(Row('the same, M = 16, before', [audit(large, ('query-masks',), 'queries', minutes=5)]))
    for label, (config, denial) in others.items():
        bound: dict[str, Any] = dict(config=config, seed=1, places=(), cipher=IMAGE_CIPHER)
        for when, of in (('before', Features(**bound)), ('denial', Denied(**bound, **denial))):
            rows.append(Row(f'{label}, CamVid: images, {when}', [audit(of, attacks, 'denial', minutes=2)]))
    return rows


def watermarks() -> list[Row]:
    """Return rows for models with a watermark, and for what attackers make of them."""
    done: dict[str, tuple[str, ...]] = {
        'unprotected': (),
        'unprotected, 300 more iterations': ('tune',),
        'watermark': ('mark',),
        'watermark, then 300 iterations without': ('mark', 'tune'),
        'watermark, then 30% of the weights pruned': ('mark', 'prune30'),
        'watermark, then 50% pruned': ('mark', 'prune50'),
        "watermark, then a pirate's": ('mark', 'pirate'),
    }
    config = SEGFORMER.format('')
    return [Row(label, [Suspect(config, seed, steps) for seed in SEEDS]) for label, steps in done.items()]


RESULTS: dict[str, tuple[Table, list[Row]]] = {
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
                [Binding(SETR, block_size=14)],
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
    'watermark': (watermark_table, watermarks()),
    'leaderboard': (leaderboard_table, leaderboard(DEEPLAB.format(''))),
    **ownership(SEGFORMER.format(''), PSPNET.format(''), SETR),
}
"""The tables by their names: the function that makes each, and its rows."""
