"""The models of docs/security/audit.md, and the attacks on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.paper.audit_cells import Audit, FineTuned, Model
from benchmarks.paper.audit_tables import audit_table, budget_table, cost_table
from benchmarks.paper.cells import CIPHER_WORDS, Training
from benchmarks.paper.feature_cells import Features
from benchmarks.paper.tables import Row, Table
from mmseg_keyprotect.audit.budget import RATES

KEY_ATTACKS = ('chosen-images', 'known-pairs', 'pictures-alone')
SEARCHES = ('hill-climbing-labels', 'hill-climbing-entropy', 'weights-alone')
NEIGHBOURS = ('neighbour-layers',)
FEATURE_SWAPS = ('feature-swaps',)
MEMORY_ATTACKS = ('norm-gain-signs', 'batch-norm-memory')
PUBLIC_ATTACKS = ('weights-alone', 'public-channels')
UN_KEYS = ('un-key', 'un-key-doubly-stochastic', 'un-key-unlabelled')
FINE_TUNINGS = ('fine-tuning-stem', 'fine-tuning')
ALONE = 'from-scratch'
PATIENT = ('un-key', 'fine-tuning', ALONE)


def attacked(model: str) -> dict[str, tuple[Table, list[Row]]]:
    """Return every table of attacks: its function and its rows, by the name of the table.

    Args:
        model: Name of the SegFormer-B0 configs, with ``{}`` in the place of the protection.
    """
    images = ('shuffle', 'negative-positive')
    segformer, deeplab = model.format(''), 'deeplabv3_mobilenet-v2-d16_1xb8-0.3k_voc440-256x256'
    voc = dict(weights='data/weights/deeplabv3_mobilenetv2_voc.pth')
    absorbed = {size: Features(segformer, places=(), cipher=images, block_size=size) for size in (4, 16)}
    tuned = {size: FineTuned(segformer, places=(), cipher=images, block_size=size) for size in (4, 16)}
    everywhere = Features(segformer, cipher=images)
    one, every = Features(segformer, places=('1',)), Features(segformer)
    blocks = Features(segformer, places=('all', 'blocks'), cipher=images, feature_cipher=('shuffle',))
    layers = Features(
        'setr_vit-s14_naive_1xb8-0.2k_camvid-168x168', places=tuple(map(str, range(11))), feature_cipher=('shuffle',)
    )
    real = {size: Features(deeplab, places=(), cipher=images, block_size=size, **voc) for size in (4, 16)}
    real_every, real_everywhere = Features(deeplab, **voc), Features(deeplab, cipher=images, **voc)
    own = {word: Training(model.format(f'_{word}-b4')) for word in CIPHER_WORDS}
    scratch = {size: Training(model.format(f'_shfnp-b{size}-stem')) for size in (4, 16)}
    against = {word: Training(model.format(f'_shfnp-b4-stem-features-{word}')) for word in ('denial', 'unkey')}
    label = 'SegFormer-B0, shuffle + negative-positive, block stem, M = {}, '.format

    models = {
        **{f'SegFormer-B0, {CIPHER_WORDS[word]}, own stem, M = 4': of for word, of in own.items()},
        **{f'{label(size)}from scratch': of for size, of in scratch.items()},
        **{f'{label(size)}absorbed': of for size, of in absorbed.items()},
        **{f'{label(size)}absorbed, fine-tuned': of for size, of in tuned.items()},
        'SegFormer-B0, feature maps: one stage': one,
        'SegFormer-B0, feature maps: every stage': every,
        'SegFormer-B0, **every stage and images**': everywhere,
        'SegFormer-B0, every stage, every block, images': blocks,
        'SegFormer-B0, every stage and images, denial': against['denial'],
        'SegFormer-B0, every stage and images, un-key in the loop': against['unkey'],
        'DeepLabV3, images absorbed, M = 4': real[4],
        'DeepLabV3, images absorbed, M = 16': real[16],
        'DeepLabV3, feature maps: every stage': real_every,
        'DeepLabV3, **every stage and images**': real_everywhere,
    }
    with_keys = [*own.values(), scratch[4], *absorbed.values(), tuned[4], *real.values()]
    with_features = [one, every, everywhere, real_every, real_everywhere]
    bound = [*absorbed.values(), *tuned.values(), *real.values(), one, every, everywhere, real_every, real_everywhere]
    counts, long = (1, 4, 8, 18, 37, 367), dict(minutes=10)  # more than the training steps take

    def name_of(of: Model) -> str:
        return next(name for name, one in models.items() if one is of)

    def row(of: Model, attacks: tuple[str, ...], word: str, **options: Any) -> Row:
        return Row(name_of(of), [audit(of, attacks, word, **options)])

    def other_keys(models: tuple[Model, ...], attacks: tuple[str, ...], word: str, **options: Any) -> list[Row]:
        return [
            Row(f'{name_of(of)}, seed {seed}', [audit(replace(of, seed=seed), attacks, word, **options)])
            for of in models
            for seed in (1, 2)
        ]

    def count_for(of: Model) -> int:
        return 330 if of.config == deeplab else 8  # 8 are too few for 21 classes

    def cost(name: str, of: Model, attacks: tuple[str, ...], word: str) -> Row:
        return Row(name, [audit(of, attacks, word, images=count, **long) for count in counts])

    def budget(label: str, images: int, *models: tuple[Model, int]) -> Row:
        limits = dict(images=images, rates=RATES, minutes=120)
        return Row(label, [audit(of, PATIENT, f'budget-{steps}', steps=steps, **limits) for of, steps in models])

    def table(attacks: tuple[str, ...], *rows: Row) -> tuple[Table, list[Row]]:
        return partial(audit_table, attacks), list(rows)

    training = (*UN_KEYS, *FINE_TUNINGS)
    keys = (*KEY_ATTACKS, *SEARCHES)
    return {
        'audit-training': table(
            training,
            *(row(of, training, 'trained', steps=100, images=count_for(of), **long) for of in models.values()),
        ),
        'audit-budget': (
            budget_table,
            [
                budget(
                    'SegFormer-B0, every stage and images',
                    8,
                    *((Features(segformer, seed, cipher=images), 200) for seed in range(3)),
                    (everywhere, 600),
                    (everywhere, 2000),
                ),
                budget('DeepLabV3, images', 330, (real[4], 200), (real[4], 600)),
                budget('DeepLabV3, every stage and images', 330, (real_everywhere, 200), (real_everywhere, 600)),
            ],
        ),
        'audit-keys': table(
            keys,
            *(row(of, keys, 'keys') for of in with_keys),
            *other_keys((absorbed[4], real[4]), (*KEY_ATTACKS, 'weights-alone'), 'keys'),
        ),
        'audit-public': table(PUBLIC_ATTACKS, *(row(of, PUBLIC_ATTACKS, 'public', public=True) for of in bound)),
        'audit-channels': table(
            (*MEMORY_ATTACKS, *NEIGHBOURS, *FEATURE_SWAPS),
            *(
                Row(
                    name_of(of),
                    [
                        audit(of, MEMORY_ATTACKS, 'memory', minutes=8),
                        *([audit(of, FEATURE_SWAPS, 'channels')] if of.cipher == ('none',) else []),
                    ],
                )
                for of in with_features
            ),
            *other_keys((everywhere, real_everywhere), MEMORY_ATTACKS, 'memory', minutes=8),
            row(blocks, MEMORY_ATTACKS, 'memory', minutes=8),
            Row('SETR, ViT-S/14, feature maps: layers 0 to 10, shuffle', [audit(layers, NEIGHBOURS, 'neighbours')]),
        ),
        'audit-cost': (
            cost_table,
            [
                cost('images alone', absorbed[4], ('un-key', 'fine-tuning'), 'cost'),
                cost('every stage and images', everywhere, ('un-key', 'fine-tuning'), 'cost'),
                cost('nothing stolen', everywhere, (ALONE,), 'alone'),
            ],
        ),
    }


def audit(of: Model, attacks: Sequence[str], word: str, **options: Any) -> Audit:
    """Return the cell of attacks on a model; ``options`` are arguments of :class:`Audit`."""
    return Audit(of.config, of.seed, of=of, word=word, attacks=tuple(attacks), **options)
