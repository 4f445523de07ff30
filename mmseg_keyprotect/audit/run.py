"""From a protected model to the report of its audit on disk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.audit.attack import STEPS, Attack, Budget
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.report import AuditReport
from mmseg_keyprotect.audit.result_store import STATE, keep, kept, make_folder
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.audit.training import BATCH
from mmseg_keyprotect.config.edit import to_preprocessor_form
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.protection.checkpoints import read_checkpoint


def choose_attacks(names: str) -> list[str]:
    """Return the attacks of a list ``name,name`` or of ``all``.

    Raises:
        ConfigError: One of them is not known.
    """
    if names == 'all':
        return list(ATTACKS)
    chosen = [name.strip() for name in names.split(',')]
    unknown = [name for name in chosen if name not in ATTACKS]
    if unknown:
        raise ConfigError(f"Expected 'all', or attacks out of {', '.join(ATTACKS)}, but got {', '.join(unknown)}.")
    return chosen


def run_audit(
    cfg: Config,
    checkpoint: str,
    folder: str | Path,
    attacks: Sequence[str],
    minutes: float,
    images: int,
    held_out: int,
    public_weights: str | None = None,
    command: str = '',
    steps: int = STEPS,
) -> AuditReport:
    """Attack a protected model, and write ``audit.json``, ``audit.md``, ``audit.html``, and one JSON for each attack.

    What is finished is kept in the folder and not run again; other attacks can be added later.

    Args:
        cfg: A protected configuration with ``test_dataloader``; the attacker's images are those of
            ``train_dataloader``, or, where there is none, test images that are not held out.
        checkpoint: A checkpoint of the configuration's key.
        folder: The folder to make, or that of an earlier run.
        attacks: Names out of ``ATTACKS``.
        minutes: For each attack.
        images: How many plain images with labels the attacker has, and at most as many others encrypted.
        held_out: On how many images of ``test_dataloader`` he is measured.
        public_weights: A checkpoint of the public model that the protected one was made from.
        command: To show in the report.
        steps: Of training, at most, for attacks that train.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration cannot be audited, or the folder holds something else.
    """
    folder = Path(folder)
    if not (minutes > 0 and held_out > 0 and steps > 0):
        raise ConfigError(
            f'Expected minutes, held-out images and steps above 0, but got {minutes}, {held_out} and {steps}.'
        )
    evaluation = AccessEvaluation(cfg, checkpoint)
    cfg = Config(copy.deepcopy(cfg.to_dict()), filename=cfg.filename)
    to_preprocessor_form(cfg)
    public = read_checkpoint(public_weights)[0] if public_weights else None
    scene = HeldOut(evaluation, held_out)
    target = open_target(cfg, evaluation, images, scene.indices, public)
    question = [evaluation.sources, minutes, images, scene.indices, public_weights, steps]
    fingerprint = sha256(repr(question).encode()).hexdigest()
    make_folder(folder, fingerprint)
    reference = kept(folder / STATE, fingerprint) or keep(folder / STATE, fingerprint, scene.reference())
    for number, name in enumerate(attacks, 1):
        file = folder / f'{name}.json'
        if kept(file, fingerprint):
            print(f'{number}/{len(attacks)} {name}: done before')
            continue
        print(f'{number}/{len(attacks)} {name}', flush=True)
        finding = carry_out(ATTACKS[name](), target, minutes, scene, steps)
        keep(file, fingerprint, finding)
    done = [kept(folder / f'{name}.json', fingerprint) for name in ATTACKS]
    report = AuditReport(
        findings=[Finding.from_dict(found) for found in done if found],
        reference=reference,
        cipher=evaluation.identity.cipher,
        key_id=evaluation.identity.key_id,
        key_space_bits=round(evaluation.key_space_bits, 1),
        minutes=minutes,
        about=dict(
            model=f'{Path(cfg.filename or "").name}, {Path(checkpoint).name}',
            images=f'{images} plain with labels and {len(target.encrypted)} encrypted for the attacker, '
            f'{len(scene.indices)} held out',
            training=f'{steps} steps of {BATCH} crops at most',
            date=date.today().isoformat(),
            **(dict(command=command) if command else {}),
        ),
    )
    report.write(folder)
    return report


def carry_out(
    attack: Attack, target: Target, minutes: float, scene: HeldOut | None = None, steps: int = STEPS
) -> dict[str, Any]:
    """Run one attack and mark what it found; return a Finding's fields as plain JSON types."""
    if refusal := not_there(attack, target) or attack.refusal(target):
        return dict(
            attack=attack.name,
            needs=attack.needs,
            shares=[],
            mIoU=None,
            seconds=0.0,
            images=0,
            queries=0,
            sentence=refusal,
        )
    budget = Budget(60 * minutes, attack.name, steps)
    result = attack.run(target, budget)
    seconds = round(budget.spent, 2)
    shares = [vars(share) for share in target.shares(result)]
    return dict(
        attack=attack.name,
        needs=attack.needs,
        shares=shares,
        mIoU=scene.reached(result) if scene else None,
        seconds=seconds,
        images=result.images,
        queries=result.queries,
        sentence=result.sentence,
    )


def not_there(attack: Attack, target: Target) -> str | None:
    """Say what an attack looks for, or lives on, that this target has not; or None."""
    if (attack.seeks == 'images' and not target.form.bits) or (attack.seeks == 'feature maps' and not target.features):
        return f'Not tried: {attack.seeks} are not encrypted.'
    if attack.seeks == 'feature maps' and target.features.cipher.block_size > 1:
        return 'Not tried: the key mixes positions of the map, so that it is no permutation of channels.'
    if 'weights' in attack.needs and not target.has_model:
        return 'Not tried: there is no model.'
    if 'labels' in attack.needs and not target.labels:
        return 'Not tried: the images have no labels.'
    if {'encrypted images', 'pairs'} & set(attack.needs) and not target.encrypted:
        return 'Not tried: no image is left to be encrypted, since the attacker has them all plain.'
    return None
