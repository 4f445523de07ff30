"""The rows of the leaderboard: every protection, and the attacks on it."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.feature_cells import Features
from benchmarks.paper.rival_cells import Attacked, BesideImageNet, Chained, Costs, Sibling
from benchmarks.paper.rival_tables import LeaderRow

IMAGES = (8, 40)
"""Numbers of labelled images that attackers have."""

LONG = 20
"""Minutes that an attack may take: more than its training steps need."""


def leaderboard(config: str) -> list[LeaderRow]:
    """Return the rows of the leaderboard.

    Args:
        config: Name of the config of the plain model, whose backbone begins as the public one.
    """
    images = ('shuffle', 'negative-positive')
    labels = ('ours: block stem, images alone', 'ours: every stage', 'ours: every stage and images')
    models = (Features(config, places=(), cipher=images), Features(config), Features(config, cipher=images))
    bound = dict(zip(labels, models, strict=True))
    own: dict[str, tuple[str, ...]] = dict(
        zip(
            labels,
            (
                ('pictures-alone', 'weights-alone'),
                ('norm-gain-signs', 'public-channels'),
                ('norm-gain-signs', 'pictures-alone', 'public-channels', 'weights-alone'),
            ),
            strict=True,
        )
    )
    costs, first = Costs(config, bound=models), models[0]

    def audits(of: Features, attacks: tuple[str, ...]) -> list[BesideImageNet]:
        more = ('from-scratch',) if of is first else ()  # nothing is stolen, so one model serves for all rows
        trained = (*more, 'fine-tuning')
        few, many = IMAGES
        options: dict[str, Any] = dict(of=of, word='board', minutes=LONG)
        return [
            BesideImageNet(config, images=few, attacks=(*attacks, *trained), public=True, **options),
            BesideImageNet(config, images=many, attacks=trained, **options),
        ]

    def ours(label: str, of: Features, attacks: tuple[str, ...]) -> LeaderRow:
        both = [Chained(config, of=of)] if of.places and of.cipher == images else []  # two keys, found one by one
        return LeaderRow(label, [*audits(of, attacks), *both, costs])

    def rival(label: str, name: str, *more: Attacked) -> LeaderRow:
        return LeaderRow(label, [Attacked(config, rival=name), *more, costs])

    def attack(name: str, word: str, public: str = '', images: int = 8) -> Attacked:
        return Attacked(config, rival=name, attack=word, images=images, public=public)

    def trained(name: str) -> list[Attacked]:
        return [attack(name, 'fine-tuning', images=count) for count in IMAGES]

    def whole(name: str) -> list[Attacked]:
        beside = [attack(name, 'beside', public) for public in ('imagenet', 'sibling')]
        return [*beside, attack(name, 'fine-tuning', 'imagenet'), *trained(name)]

    access = Attacked(config, rival='hpnn-kernels')
    return [
        LeaderRow('unprotected', [access], 'plain'),
        LeaderRow(
            'nothing stolen: the black-box bound', [*audits(first, own[labels[0]]), Sibling(config)], 'nothing stolen'
        ),
        LeaderRow('ours: sealed file', [access], 'sealed'),
        *(ours(label, of, own[label]) for label, of in bound.items()),
        rival('HPNN, signs in the gains', 'hpnn-gains', attack('hpnn-gains', 'gains')),
        rival(
            'HPNN, signs in the kernels',
            'hpnn-kernels',
            *whole('hpnn-kernels'),
            attack('hpnn-kernels', 'gains'),
            attack('hpnn-kernels', 'norms', 'imagenet'),
        ),
        rival(
            'NNSplitter',
            'nnsplitter',
            *whole('nnsplitter'),
            attack('nnsplitter', 'outliers'),
            attack('nnsplitter', 'outliers', 'imagenet'),
        ),
        rival('ShadowNet', 'shadownet', *whole('shadownet')),
        rival('GroupCover', 'groupcover', *whole('groupcover')),
        rival('DeepIPR, passports in the head', 'deepipr', *trained('deepipr'), attack('deepipr', 'norms')),
    ]
