"""Small data sets on disk, drawn for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_data_set(folder: Path, count: int = 6, size=(18, 13), images='images/train', labels='annotations/train'):
    """Write images of noise with label maps, and a list of their names."""
    rng = np.random.default_rng(0)
    for name in (images, labels):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        shape = (size[1], size[0])
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / images / f'{number:03}.png')
        Image.fromarray(rng.integers(0, 3, shape, dtype=np.uint8)).save(folder / labels / f'{number:03}.png')
    (folder / 'train.txt').write_text('\n'.join(f'{number:03}' for number in range(count)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for hidden ones: what a killed process left goes a minute later."""
    files = [path for path in folder.rglob('*') if path.is_file() and not path.name.startswith('.')]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
