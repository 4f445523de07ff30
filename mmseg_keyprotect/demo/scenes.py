"""Writes a small data set of drawn scenes in MMSegmentation's layout."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from mmseg_keyprotect.demo.drawing import (
    CLASSES,
    DRAWING_VERSION,
    PALETTE,
    check_int,
    check_size,
    draw_scene,
)
from mmseg_keyprotect.errors import ConfigError


def write_demo_scenes(
    root: str | Path, num_train: int = 160, num_val: int = 40, size: tuple[int, int] = (160, 160), seed: int = 0
) -> Path:
    """Write a data set of scenes in MMSegmentation's layout, or find it written already.

    ``images/{train,val}/NNNN.png`` are RGB; ``annotations/{train,val}/NNNN.png`` are 8-bit indices with `PALETTE`;
    ``classes.txt`` names one class a line, in order; ``scenes.json`` holds the parameters. All is written into a folder
    beside ``root`` that is renamed at the end: ``root`` is never half-written. The same parameters give the same bytes.

    Args:
        root: The folder to make. It does not exist yet, or holds a complete set of the same parameters, which is left
            as it is.
        num_train: Number of training scenes, at least 1.
        num_val: Number of validation scenes, at least 1.
        size: (height, width) of each, in pixels, each at least 96.
        seed: At least 0. Each scene has a generator of its own: ``default_rng([seed, split, index])``, split 0 or 1.

    Returns:
        ``root``, as a path.

    Raises:
        ConfigError: A parameter is out of range, or ``root`` is something else.
    """
    root = Path(root)
    counts = {'train': check_int('num_train', num_train, 1), 'val': check_int('num_val', num_val, 1)}
    size, seed = check_size(size), check_int('seed', seed, 0)
    recipe = {'drawing': DRAWING_VERSION, **counts, 'size': list(size), 'seed': seed}
    if root.exists() or root.is_symlink():
        _check_complete(root, recipe)
        return root
    palette = np.uint8(PALETTE).tobytes().ljust(768, b'\0')  # all 256: fewer make 4-bit files
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as folder:
        stage = Path(folder) / root.name
        for split, (name, count) in enumerate(counts.items()):
            images, labels = stage / 'images' / name, stage / 'annotations' / name
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            for index in range(count):
                image, label = _framed_scene(np.random.default_rng([seed, split, index]), size)
                Image.fromarray(image).save(images / f'{index:04d}.png')
                indexed = Image.fromarray(label)
                indexed.putpalette(palette)
                indexed.save(labels / f'{index:04d}.png')
        (stage / 'classes.txt').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
        (stage / 'scenes.json').write_text(json.dumps(recipe) + '\n', encoding='utf-8')
        stage.rename(root)
    return root


def _framed_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene 1.4 times as large and cut a window out of it, so that a place says little of what is there."""
    image, label = draw_scene(rng, (size[0] * 7 // 5, size[1] * 7 // 5))
    top, left = (rng.integers(whole - part + 1) for whole, part in zip(label.shape, size, strict=True))
    window = slice(top, top + size[0]), slice(left, left + size[1])
    return image[window], label[window]


def _check_complete(root: Path, recipe: dict) -> None:
    """Raise ConfigError unless ``root`` holds every file of the data set of these parameters."""
    try:
        found = json.loads((root / 'scenes.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        found = 'no readable scenes.json'
    if found == recipe:
        files = [root / 'classes.txt']
        for kind in ('images', 'annotations'):
            files += [root / kind / name / f'{i:04d}.png' for name in ('train', 'val') for i in range(recipe[name])]
        missing = [file for file in files if not file.is_file()]
        if not missing:
            return
        found = f'{len(missing)} of its {len(files)} files missing, the first {missing[0]}'
    raise ConfigError(
        f'Expected {root} to be a new folder, or a complete set of demo scenes with {recipe}, but got {found}. '
        'Name another folder, or remove this one.'
    )
