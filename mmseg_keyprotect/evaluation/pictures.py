"""Show test images side by side: plain, encrypted, true labels, and the predictions of several users."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.evaluation.access import BASELINE, BASELINE_USER, AccessEvaluation
from mmseg_keyprotect.evaluation.choice import choose_images
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.session.users import User

ENCRYPTED_WITH = 0
"""The number of the random key that encrypts the shown images; the wrong keys of a report begin at 1."""

ENCRYPTED = 'encrypted'
"""The title of encrypted images."""

ENCRYPTED_NOTE = (
    'A random key encrypts the shown images, not the correct one: an image beside its encrypted form reveals the key.'
)
"""Why the encrypted images of a report are not those that the model gets."""


@dataclass(frozen=True)
class Picture:
    """One test image and what users get for it.

    Args:
        name: The file name of the image.
        panels: RGB uint8 (H, W, 3) by title; their sizes may differ.
        colours: RGB, 0 to 255, of the classes in the panels, by the index of the class.
    """

    name: str
    panels: dict[str, np.ndarray]
    colours: dict[int, tuple[int, ...]] = field(default_factory=dict)


def take_pictures(evaluation: AccessEvaluation, report: AccessReport, count: int = 12) -> list[Picture]:
    """Return pictures of test images that are spread over the data set and differ from each other.

    Args:
        evaluation: The model and its images.
        report: The report of that evaluation, which tells the worst wrong key.
        count: The number of images, at most.
    """
    users = evaluation.protected.users
    worst = report.worst_case.who if report.worst_case else 'wrong key 1'
    shown = {BASELINE: BASELINE_USER} if evaluation.baseline else {}
    shown |= {
        'correct key': evaluation.correct,
        'no key': users.without_key(),
        worst: users.wrong(evaluation.nonce, int(worst.split()[-1])),
    }
    cipher = evaluation.protected.cipher
    another = users.wrong(evaluation.nonce, ENCRYPTED_WITH).encryption if cipher else None
    return [_take(evaluation, shown, another, index) for index in choose_images(evaluation.images, count)]


def _take(
    evaluation: AccessEvaluation, users: dict[str, User], another: KeyedCipher | PlainImages | None, index: int
) -> Picture:
    images, batch = evaluation.images, evaluation.images.batch(index)
    order = evaluation.protected.channel_order
    image = batch['inputs'][0]
    panels = {'image': _rgb(image, order)}
    if another is not None:
        panels[ENCRYPTED] = _rgb(another.encrypt(image)[0], order)
    masks = (found.pred_sem_seg.data[0].cpu() for found in evaluation.predictions(users.values(), index))
    labels = dict(zip(users, masks, strict=True))
    if images.labelled:
        labels = {'true labels': batch['data_samples'][0].gt_sem_seg.data[0], **labels}
    palette = np.array(images.dataset.metainfo.get('palette') or some_colours(len(images.classes)), dtype=np.uint8)
    panels |= {who: paint(found.long().numpy(), palette) for who, found in labels.items()}
    present = sorted(
        {int(value) for found in labels.values() for value in found.unique()}
        & {*range(min(len(palette), len(images.classes)))}
    )
    colours = {value: tuple(palette[value].tolist()) for value in present}
    return Picture(Path(images.paths[index]).name, panels, colours)


def legend(pictures: list[Picture], classes: list[str]) -> list[tuple[str, str]]:
    """Return the name and the colour, ``#rrggbb``, of every class that occurs in the pictures."""
    colours = {index: colour for picture in pictures for index, colour in picture.colours.items()}
    return [(classes[index], '#{:02x}{:02x}{:02x}'.format(*colours[index])) for index in sorted(colours)]


def gallery(pictures: list[Picture], classes: list[str], path: Path, rows: int = 4) -> Path:
    """Write the first pictures as one PNG file, one row each, and a legend of the classes below.

    Args:
        pictures: At least one.
        classes: The names of the classes.
        path: The file to write.
        rows: The number of rows, at most.

    Returns:
        The path.
    """
    pictures = pictures[:rows]
    titles = list(pictures[0].panels)
    figure = Figure(figsize=(2.2 * len(titles), 1.8 * len(pictures)), layout='constrained')
    axes = figure.subplots(len(pictures), len(titles), squeeze=False)
    for row, picture in zip(axes, pictures, strict=True):
        for axis, panel in zip(row, picture.panels.values(), strict=True):
            axis.imshow(panel)
            axis.axis('off')
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    names = [Patch(color=colour, label=name) for name, colour in legend(pictures, classes)]
    figure.legend(handles=names, loc='outside lower center', ncols=len(titles), frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)
    return path


def _rgb(image: torch.Tensor, order: str) -> np.ndarray:
    """Return an image (C, H, W), 0 to 255, in the channel order ``bgr`` or ``rgb`` as RGB uint8 (H, W, 3)."""
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    if order == 'bgr':
        image = image.flip(0)
    return image.permute(1, 2, 0).round().byte().cpu().numpy()


def paint(classes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return a label map in colour; pixels whose class has no colour are white.

    Args:
        classes: Integers (H, W), 0 or more.
        palette: RGB uint8 (classes, 3).

    Returns:
        RGB uint8 (H, W, 3).
    """
    picture = np.full((*classes.shape, 3), 255, dtype=np.uint8)
    known = classes < len(palette)
    picture[known] = palette[classes[known]]
    return picture


def some_colours(classes: int) -> np.ndarray:
    """Return a colour for every class of a data set without a palette, RGB uint8 (classes, 3)."""
    return np.random.default_rng(0).integers(0, 256, (classes, 3)).astype(np.uint8)
