"""From a protected model to the report of its audit on disk."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.audit.attack import Attack, Budget
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.audit_report import AuditReport
from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.kept import STATE, keep, kept, make_folder
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.engine.pipelines import to_preprocessor_form
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
        images: How many encrypted images the attacker has, and how many others plain, with labels.
        held_out: On how many images of ``test_dataloader`` he is measured.
        public_weights: A checkpoint of the public model that the protected one was made from.
        command: To show in the report.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration cannot be audited, or the folder holds something else.
    """
    folder = Path(folder)
    if not (minutes > 0 and held_out > 0):
        raise ConfigError(f'Expected minutes and held-out images above 0, but got {minutes} and {held_out}.')
    evaluation = AccessEvaluation(cfg, checkpoint)
    if evaluation.correct.cipher is None:
        raise ConfigError(
            'Expected a model whose images are encrypted, whose key these attacks look for, but got one with encrypted '
            'feature maps alone. See what a thief of its weights learns: python tools/un_key.py.'
        )
    cfg = Config(copy.deepcopy(cfg.to_dict()), filename=cfg.filename)
    to_preprocessor_form(cfg)
    public = read_checkpoint(public_weights)[0] if public_weights else None
    scene = HeldOut(evaluation, held_out)
    target = open_target(cfg, evaluation, images, scene.indices, public)
    question = [evaluation.sources, minutes, images, scene.indices, public_weights]
    fingerprint = sha256(repr(question).encode()).hexdigest()
    make_folder(folder, fingerprint)
    reference = kept(folder / STATE, fingerprint) or keep(folder / STATE, fingerprint, scene.reference())
    for number, name in enumerate(attacks, 1):
        file = folder / f'{name}.json'
        if kept(file, fingerprint):
            print(f'{number}/{len(attacks)} {name}: done before')
            continue
        print(f'{number}/{len(attacks)} {name}', flush=True)
        finding = carry_out(ATTACKS[name](), target, minutes, scene)
        keep(file, fingerprint, finding)
    done = [kept(folder / f'{name}.json', fingerprint) for name in ATTACKS]
    report = AuditReport(
        findings=[Finding.from_dict(found) for found in done if found],
        reference=reference,
        cipher=evaluation.identity.cipher,
        key_id=evaluation.identity.key_id,
        key_space_bits=round(target.form.bits, 1),
        minutes=minutes,
        about=dict(
            model=f'{Path(cfg.filename or "").name}, {Path(checkpoint).name}',
            images=f'{images} encrypted and {images} plain for the attacker, {len(scene.indices)} held out',
            date=date.today().isoformat(),
            **(dict(command=command) if command else {}),
        ),
    )
    report.write(folder)
    return report


def carry_out(attack: Attack, target: Target, minutes: float, scene: HeldOut | None = None) -> dict[str, Any]:
    """Run one attack and mark what it found; return a Finding's fields as plain JSON types."""
    if refusal := attack.refusal(target):
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
    budget = Budget(60 * minutes, attack.name)
    result = attack.run(target, budget)
    seconds = round(budget.spent, 2)
    shares = [] if result.key is None else [vars(share) for share in target.shares(result.key)]
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
