"""Write a small data set of drawn scenes in MMSegmentation's layout."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmseg_keyprotect.demo.drawing import (
    CLASSES,
    DRAWING_VERSION,
    PALETTE,
    check_int,
    check_size,
    draw_scene,
)
from mmseg_keyprotect.errors import OutputError


def write_demo_scenes(
    root: str | Path, num_train: int = 160, num_val: int = 40, size: tuple[int, int] = (160, 160), seed: int = 0
) -> Path:
    """Write a data set of scenes in MMSegmentation's layout, unless the same one is there already.

    ``images/{train,val}/NNNN.png`` are RGB images. ``annotations/{train,val}/NNNN.png`` are 8-bit indices with
    ``PALETTE``. ``classes.txt`` names one class on each line, in order, and ``scenes.json`` holds the parameters. The
    files are written into a folder beside ``root``, which is renamed at the end, so that ``root`` is never
    half-written. The same parameters give the same bytes.

    Args:
        root: The folder to make. A folder with a complete set of the same parameters is left as it is.
        num_train: The number of training scenes, at least 1.
        num_val: The number of validation scenes, at least 1.
        size: (height, width) of each scene, in pixels, each at least 96.
        seed: At least 0. Each scene has its own generator, ``default_rng([seed, split, index])`` with split 0 for
            training and 1 for validation.

    Returns:
        ``root``, as a path.

    Raises:
        ConfigError: A parameter is out of range.
        OutputError: ``root`` exists and holds something else.

    Example:
        >>> write_demo_scenes('scenes', num_train=2, num_val=1)  # doctest: +SKIP
        PosixPath('scenes')
    """
    root = Path(root)
    counts = {'train': check_int('num_train', num_train, 1), 'val': check_int('num_val', num_val, 1)}
    size, seed = check_size(size), check_int('seed', seed, 0)
    recipe = {'drawing': DRAWING_VERSION, **counts, 'size': list(size), 'seed': seed}
    if root.exists() or root.is_symlink():
        _check_complete(root, recipe)
        return root
    palette = np.array(PALETTE, np.uint8).tobytes().ljust(768, b'\0')  # all 256 colours: fewer make 4-bit files
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


def _framed_scene(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw a scene 1.4 times as large and crop it at random, so that a position says little about its class."""
    image, label = draw_scene(rng, (size[0] * 7 // 5, size[1] * 7 // 5))
    top, left = (rng.integers(whole - part + 1) for whole, part in zip(label.shape, size, strict=True))
    window = slice(top, top + size[0]), slice(left, left + size[1])
    return image[window], label[window]


def _check_complete(root: Path, recipe: dict[str, Any]) -> None:
    """Raise OutputError unless ``root`` holds every file of the data set of these parameters."""
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
    raise OutputError(
        f'Expected {root} to be a new folder, or a complete set of demo scenes with {recipe}, but got {found}. '
        'Name another folder, or remove this one.'
    )
