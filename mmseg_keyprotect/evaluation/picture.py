"""Images side by side: plain, encrypted, truth, and what the model sees in them with and without the key."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmengine.dataset import pseudo_collate

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.evaluation.access import AccessEvaluation

matplotlib.use('Agg')


def save_picture(evaluation: AccessEvaluation, path: str | Path, images: int = 4) -> Path:
    """Draw the first test images, a row each.

    Args:
        evaluation: The model and its test data.
        path: The PNG file to write.
        images: How many rows.

    Returns:
        The path.
    """
    from matplotlib import pyplot as plt

    dataset = evaluation.runner.build_dataloader(evaluation.runner.cfg.test_dataloader).dataset
    palette = np.array(dataset.metainfo['palette'], dtype=np.uint8)
    users = {'correct key': evaluation.correct, 'no key': None, 'wrong key': evaluation.wrong_cipher()}
    titles = ['image', 'encrypted', 'truth', *users]
    rows = min(images, len(dataset))
    figure, axes = plt.subplots(rows, len(titles), figsize=(2.2 * len(titles), 1.8 * rows), squeeze=False)
    for row, index in zip(axes, range(rows), strict=True):
        sample = dataset[index]
        truth = sample['data_samples'].gt_sem_seg.data[0].numpy()
        pictures = [
            _rgb(sample['inputs']),
            _rgb(_encrypted(evaluation.correct, sample['inputs'])),
            _paint(truth, palette),
        ]
        for cipher in users.values():
            with evaluation.using(cipher) as model, torch.no_grad():
                output = model.test_step(pseudo_collate([sample]))[0]
            pictures.append(_paint(output.pred_sem_seg.data[0].cpu().numpy(), palette))
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.axis('off')
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return Path(path)


def _encrypted(cipher: KeyedCipher, image: torch.Tensor) -> torch.Tensor:
    return cipher.encrypt(image)[0]


def _rgb(image: torch.Tensor) -> np.ndarray:
    """Turn a BGR tensor (3, H, W), 0 to 255, into an RGB picture."""
    return image.flip(0).permute(1, 2, 0).round().byte().numpy()


def _paint(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colour a label map (H, W); what is ignored stays white."""
    picture = np.full((*labels.shape, 3), 255, dtype=np.uint8)
    known = labels < len(palette)
    picture[known] = palette[labels[known]]
    return picture
