"""Show test images side by side: plain, encrypted, true labels, and the predictions of several users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.report import AccessReport


@dataclass(frozen=True)
class Picture:
    """One test image and what users get for it.

    Args:
        name: The file name of the image.
        panels: RGB uint8 (H, W, 3) by title; their sizes may differ.
    """

    name: str
    panels: dict[str, np.ndarray]


def take_pictures(evaluation: AccessEvaluation, report: AccessReport, count: int = 12) -> list[Picture]:
    """Return pictures of test images, evenly spread over the data set.

    Args:
        evaluation: The model and its images.
        report: The report of that evaluation, which tells the best wrong key.
        count: The number of images, at most.
    """
    indices = np.unique(np.linspace(0, len(evaluation.images) - 1, count).round().astype(int))
    return [_take(evaluation, report, int(index)) for index in indices]


def _take(evaluation: AccessEvaluation, report: AccessReport, index: int) -> Picture:
    images, protected = evaluation.images, evaluation.protected
    cipher, batch = protected.cipher, images.batch(index)
    image = batch['inputs'][0]
    palette = np.array(images.dataset.metainfo.get('palette') or _palette(len(images.classes)), dtype=np.uint8)
    panels = {'image': _rgb(image, cipher)}
    if cipher is not None:
        panels['encrypted'] = _rgb(cipher.encrypt(image)[0], cipher)
    if images.labelled:
        panels['true labels'] = _paint(batch['data_samples'][0].gt_sem_seg.data[0], palette)
    worst = report.worst_case.who if report.worst_case else 'wrong key 1'
    users = {
        'correct key': evaluation.correct,
        'no key': protected.users.without_key(),
        worst: protected.users.wrong(evaluation.nonce, int(worst.split()[-1])),
    }
    for who, user in users.items():
        panels[who] = _paint(evaluation.predict(user, index).pred_sem_seg.data[0].cpu(), palette)
    return Picture(Path(images.paths[index]).name, panels)


def gallery(pictures: list[Picture], path: Path, rows: int = 4) -> Path:
    """Write the first pictures as one PNG file, one row each.

    Args:
        pictures: At least one.
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
    figure.savefig(path, dpi=100)
    return path


def _rgb(image: torch.Tensor, cipher: KeyedCipher | None) -> np.ndarray:
    """Return an image (C, H, W), 0 to 255, in the cipher's channel order (default: BGR) as RGB uint8 (H, W, 3)."""
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    if cipher is None or cipher.channel_order == 'bgr':
        image = image.flip(0)
    return image.permute(1, 2, 0).round().byte().cpu().numpy()


def _paint(labels: torch.Tensor, palette: np.ndarray) -> np.ndarray:
    """Return a label map (H, W) in colour; ignored pixels are white."""
    classes = labels.long().numpy()
    picture = np.full((*classes.shape, 3), 255, dtype=np.uint8)
    known = classes < len(palette)
    picture[known] = palette[classes[known]]
    return picture


def _palette(classes: int) -> np.ndarray:
    """Return a colour for every class of a data set without a palette."""
    return np.random.default_rng(0).integers(0, 256, (classes, 3))
