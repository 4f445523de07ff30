"""Evaluate a protected model and write its access report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from mmseg_keyprotect.config.datasets import find_datasets
from mmseg_keyprotect.errors import ConfigError, OutputError
from mmseg_keyprotect.evaluation.access import DRAWS, SEED_BYTES, AccessEvaluation
from mmseg_keyprotect.evaluation.figures import figures_of
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.evaluation.pictures import gallery, take_pictures
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.evaluation.svg import to_png
from mmseg_keyprotect.evaluation.written import write
from mmseg_keyprotect.files import make_folder
from mmseg_keyprotect.session.processes import on_main_process

REPORT = 'report.html'
"""The file name of the page."""

GALLERY = 'gallery.png'
"""The file name of the images with the masks of each user."""


def evaluate_access(
    cfg: Config,
    checkpoint: str,
    folder: str | Path,
    wrong_keys: int,
    baseline: tuple[Config, str] | None = None,
    known: Sequence[int] = (25, 50, 75, 90),
    pictures: int = 12,
    command: str = '',
    draws: int = DRAWS,
    seed: int | None = None,
) -> AccessReport:
    """Measure the accuracy of every user, and write the access report.

    An interrupted evaluation continues if it is run again with the same folder.

    Args:
        cfg: A protected configuration with ``test_dataloader``.
        checkpoint: A checkpoint of the configuration's key.
        folder: The folder to make: ``report.html``, ``access.json``, ``access.md``, ``gallery.png`` and ``figures``.
        wrong_keys: The number of random wrong keys, 0 or more.
        baseline: The configuration and the checkpoint of an unprotected model to compare with.
        known: Shares of the key in percent, 0 to 100, that partly right keys know.
        pictures: The number of images to show; 0 writes ``access.json`` and ``access.md`` alone.
        command: The command line to show in the report.
        draws: The number of partly right keys for each share, 1 or more.
        seed: Fixes the wrong and the partly right keys; None draws a seed, which the report names.

    Returns:
        The report; in every process if there are several.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration cannot be evaluated, or a number is out of range.
        OutputError: The folder cannot be written, or holds something else.
        DamagedFileError: The state of an interrupted evaluation is damaged.

    Example:
        >>> from mmengine.config import Config                                    # doctest: +SKIP
        >>> cfg = Config.fromfile('protected.py')                                 # doctest: +SKIP
        >>> report = evaluate_access(cfg, 'iter_20000.pth', 'report', 20)         # doctest: +SKIP
        >>> report.leak                                                           # doctest: +SKIP
        0.03
    """
    folder = Path(folder)
    if not all(0 <= share <= 100 for share in known) or min(wrong_keys, pictures) < 0:
        raise ConfigError(
            'Expected shares of the key from 0 to 100 percent, and no negative number of wrong keys or pictures, but '
            f'got {list(known)}, {wrong_keys} and {pictures}. Correct them.'
        )
    if draws < 1 or not (seed is None or 0 <= seed < 256**SEED_BYTES):
        raise ConfigError(
            f'Expected 1 or more draws, and a seed of 0 or more below 2^{8 * SEED_BYTES}, but got {draws} and {seed}. '
            'Correct them.'
        )
    on_main_process(prepare_folder, folder)
    evaluation = AccessEvaluation(cfg, checkpoint, baseline, seed)
    report = evaluation.run(folder, wrong_keys, known, draws)
    report.about = dict(
        model=f'{Path(cfg.filename or "").name}, {Path(checkpoint).name}',
        **(dict(baseline=f'{Path(baseline[0].filename or "").name}, {Path(baseline[1]).name}') if baseline else {}),
        data=f'{evaluation.images.dataset.__class__.__name__}, {", ".join(_folders(cfg))}',
        date=date.today().isoformat(),
        **(dict(command=command) if command else {}),
    )
    if is_main_process():
        if pictures:
            taken = take_pictures(evaluation, report, pictures)
            gallery(taken, report.classes, folder / GALLERY)
            (folder / 'figures').mkdir(exist_ok=True)
            for name, (_, draw, height) in figures_of(report).items():
                to_png(draw, folder / 'figures' / f'{name}.png', height)
            write_html(report, taken, folder / REPORT)
        write(report, folder)
        for state in folder.glob('state_*.json'):
            state.unlink()
    barrier()
    return report


def _folders(cfg: Config) -> list[str]:
    """Return the folders of the test data, each once."""
    found = find_datasets(cfg.test_dataloader.dataset)
    return list(dict.fromkeys(str(dataset.get('data_root')) for dataset in found))


def prepare_folder(folder: Path) -> None:
    """Make the folder of a report, or accept that of an interrupted evaluation.

    Raises:
        OutputError: It holds a report or something else, or cannot be written.
    """
    found = make_folder(folder)
    if 'access.json' in found:
        raise OutputError(f'Expected a folder without a report, but {folder} has one. Name another with -o.')
    if found and not any(name.startswith('state_') for name in found):
        raise OutputError(
            f'Expected an empty folder, or that of an interrupted evaluation, but {folder} holds {found[0]}. '
            'Name another with -o.'
        )
