"""Run attacks on a protected model and write the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from hashlib import sha256
from pathlib import Path

from mmengine.config import Config

from mmseg_keyprotect.audit.attack import Attack, NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import QUERIES, RATES, STEPS, Budget
from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.rates import SCALES
from mmseg_keyprotect.audit.report import AuditReport
from mmseg_keyprotect.audit.result_store import STATE, load, prepare_folder, save
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.audit.training import BATCH
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.protection.checkpoints import read_checkpoint
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import open_model


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
    rates: int = RATES,
    queries: int = QUERIES,
    own_model: Config | None = None,
) -> AuditReport:
    """Attack a model, and write ``audit.json``, ``audit.md``, ``audit.html`` and one JSON for each attack.

    Finished attacks are kept in the folder and not run again, and other attacks can be added later.

    Args:
        cfg: A protected configuration, or one with a private side, with ``test_dataloader``. The attacker's images are
            those of ``train_dataloader``, or, without one, test images that are not held out.
        checkpoint: A checkpoint of the configuration's key.
        folder: The folder to make, or that of an earlier run.
        attacks: Names out of :data:`~mmseg_keyprotect.audit.attacks.ATTACKS`.
        minutes: The time limit of each attack, above 0.
        images: The number of plain images with labels that the attacker has, and at most as many others encrypted.
        held_out: The number of images of ``test_dataloader`` to measure attackers on, above 0.
        public_weights: A checkpoint of the public model that the protected one was made from.
        command: The command line to show in the report.
        steps: The limit of training steps of each attack, above 0.
        rates: How many learning rates each training attack tries on images of its own, 1 to 5.
        queries: The number of crops that attacks may ask the running model about that train on answers, above 0.
        own_model: The configuration of the model that an attacker trains who steals none; default: one like this.

    Returns:
        The report, with the findings of earlier runs in the same folder.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration cannot be audited, an attack is unknown, or a number is out of range.
        OutputError: The folder cannot be written, or holds something else.
        DamagedFileError: A result of an earlier run is damaged.

    Example:
        >>> from mmengine.config import Config                                                  # doctest: +SKIP
        >>> cfg = Config.fromfile('protected.py')                                               # doctest: +SKIP
        >>> report = run_audit(cfg, 'protected.pth', 'audit', ['known-pairs'], 1, 16, 30)       # doctest: +SKIP
        >>> report.findings[0].whole_key                                                        # doctest: +SKIP
        True
    """
    folder = Path(folder)
    unknown = [name for name in attacks if name not in ATTACKS]
    if unknown:
        raise ConfigError(f'Expected attacks out of {", ".join(ATTACKS)}, but got {", ".join(unknown)}. Correct them.')
    if not 0 < rates <= len(SCALES):
        raise ConfigError(f'Expected 1 to {len(SCALES)} learning rates, but got {rates}. Correct it.')
    if not all(one > 0 for one in (minutes, held_out, steps, queries)):  # not a number is refused too
        raise ConfigError(
            f'Expected minutes, held-out images, steps and queries above 0, but got {minutes}, {held_out}, {steps} and '
            f'{queries}. Correct them.'
        )
    protected = open_model(cfg, checkpoint)
    test_images = TestImages(protected.cfg)
    public = read_checkpoint(public_weights)[0] if public_weights else None
    scene = HeldOut(protected, test_images, held_out)
    target = open_target(protected, test_images, images, scene.indices, public, own_model)
    own = own_model and repr(own_model.to_dict())
    question = [protected.sources, minutes, images, scene.indices, public_weights, steps, rates, queries, own]
    fingerprint = sha256(repr(question).encode()).hexdigest()
    prepare_folder(folder, fingerprint)
    reference = load(folder / STATE, fingerprint) or save(folder / STATE, fingerprint, scene.reference())
    for number, name in enumerate(attacks, 1):
        file = folder / f'{name}.json'
        if load(file, fingerprint):
            print(f'{number}/{len(attacks)} {name}: done before')
            continue
        print(f'{number}/{len(attacks)} {name}', flush=True)
        finding = carry_out(ATTACKS[name](), target, minutes, scene, steps, rates, queries)
        save(file, fingerprint, asdict(finding))
    done = [load(folder / f'{name}.json', fingerprint) for name in ATTACKS]
    report = AuditReport(
        findings=[Finding.from_dict(found) for found in done if found],
        reference=reference,
        identity=protected.identity,
        key_space_bits=round(protected.key_space_bits, 1),
        minutes=minutes,
        about=dict(
            model=f'{Path(cfg.filename or "").name}, {Path(checkpoint).name}',
            images=f'{images} plain with labels and {len(target.encrypted)} encrypted for the attacker, '
            f'{len(scene.indices)} held out',
            training=f'at most {steps} steps of {BATCH} crops' + f', after trials of {rates} rates' * (rates > 1),
            queries=f'at most {queries} crops that the running model answers',
            **({'own model': Path(own_model.filename or '').name} if own_model else {}),
            date=date.today().isoformat(),
            **(dict(command=command) if command else {}),
        ),
    )
    report.write(folder)
    return report


def carry_out(
    attack: Attack,
    target: Target,
    minutes: float,
    scene: HeldOut | None = None,
    steps: int = STEPS,
    rates: int = 1,
    queries: int = QUERIES,
) -> Finding:
    """Run one attack and score its result.

    Args:
        attack: The attack.
        target: The target.
        minutes: The time limit.
        scene: The held-out images; None to measure no accuracy.
        steps: The limit of training steps.
        rates: How many learning rates an attack that trains tries.
        queries: See :class:`~mmseg_keyprotect.audit.budget.Budget`.
    """
    needs = (*attack.needs, *(one for one in attack.uses if not target.lacks(one)))
    with TaskProgress(f'  {attack.name}, seconds', 60 * minutes) as progress:
        budget = Budget(60 * minutes, progress, steps, rates, queries)
        try:
            result = attack.attack(target, budget)
        except NotApplicable as outcome:
            return Finding.not_applicable(attack.name, needs, outcome.reason)
    seconds, over = round(budget.spent, 2), budget.over
    miou, agreement = scene.reached(result) if scene else (None, None)
    return Finding(
        attack=attack.name,
        needs=needs,
        shares=target.shares(result),
        pictures=target.pictures(result),
        mIoU=miou,
        seconds=seconds,
        images=result.images,
        queries=result.queries,
        sentence=result.sentence,
        agreement=agreement,
        stopped=result.stopped if result.stopped is not None else f'{seconds:.0f} s' if over else '',
    )
