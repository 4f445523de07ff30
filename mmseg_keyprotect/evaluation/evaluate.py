"""From a protected model to its access report on disk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, is_main_process

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.figures import FIGURES, to_png
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.evaluation.pictures import gallery, take_pictures
from mmseg_keyprotect.evaluation.report import AccessReport

REPORT = 'report.html'


def evaluate_access(
    cfg: Config,
    checkpoint: str,
    folder: str | Path,
    wrong_keys: int,
    baseline: tuple[Config, str] | None = None,
    known: Sequence[int] = (25, 50, 75, 90),
    pictures: int = 12,
    command: str = '',
) -> AccessReport:
    """Measure who gets which accuracy, and write the report.

    An interrupted evaluation goes on where it was when it is run again with the same folder.

    Args:
        cfg: A protected configuration with ``test_dataloader``.
        checkpoint: A checkpoint of the configuration's key.
        folder: The folder to make: ``report.html``, ``access.json``, ``access.md``, ``gallery.png`` and ``figures``.
        wrong_keys: How many random wrong keys.
        baseline: The unprotected model to compare with: its configuration and its checkpoint.
        known: Percent of the positions that a partly right key has right, one such key each.
        pictures: How many images to show; 0 writes ``access.json`` and ``access.md`` alone.
        command: To show in the report.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration cannot be evaluated, or the folder holds something else.
    """
    folder = Path(folder)
    if not all(0 <= share <= 100 for share in known) or min(wrong_keys, pictures) < 0:
        raise ConfigError(
            f'Expected shares of a key of 0 to 100 percent, and numbers of keys and pictures, but got {list(known)}, '
            f'{wrong_keys} and {pictures}.'
        )
    problem: list[ConfigError | None] = [None]
    if is_main_process():
        try:
            make_folder(folder)
        except ConfigError as error:
            problem[0] = error
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]
    evaluation = AccessEvaluation(cfg, checkpoint, baseline)
    report = evaluation.run(folder, wrong_keys, known)
    report.about = dict(
        model=f'{Path(cfg.filename or "").name}, {Path(checkpoint).name}',
        **(dict(baseline=f'{Path(baseline[0].filename or "").name}, {Path(baseline[1]).name}') if baseline else {}),
        data=f'{evaluation.images.dataset.__class__.__name__}, {cfg.test_dataloader.dataset.get("data_root")}',
        date=date.today().isoformat(),
        **(dict(command=command) if command else {}),
    )
    if is_main_process():
        if pictures:
            taken = take_pictures(evaluation, report, pictures)
            gallery(taken, folder / 'gallery.png')
            (folder / 'figures').mkdir(exist_ok=True)
            for name in FIGURES if report.rows else ():
                to_png(name, report, folder / 'figures' / f'{name}.png')
            write_html(report, taken, folder / REPORT)
        report.write(folder)
        for state in folder.glob('state_*.json'):
            state.unlink()
    barrier()
    return report


def make_folder(folder: Path) -> None:
    """Make the folder of a report, unless it holds the state of an interrupted evaluation.

    Raises:
        ConfigError: It holds a report or something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir())
        probe = folder / '.writable'
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f'Expected a folder to write to, but {folder}: {error.strerror}. Name another with -o.'
        ) from None
    if 'access.json' in found:
        raise ConfigError(f'Expected a folder without a report, but {folder} has one. Name another with -o.')
    if found and not any(name.startswith('state_') for name in found):
        raise ConfigError(
            f'Expected an empty folder, or an interrupted evaluation, but {folder} holds {found[0]}. '
            'Name another with -o.'
        )
