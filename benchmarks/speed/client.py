"""Measure `keyprotect encrypt` on image files, beside reading and writing the same files without encryption.

Both write the same pixels, as PNG of the same level. They take turns within one run, with one image at once and with
one for each core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from benchmarks.speed.report import publish, quartiles, table_of
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.images.files import SUFFIXES
from mmseg_keyprotect.keys import SecretKey


def alternatives(images: list[Path], folder: Path) -> dict[str, Callable[[], None]]:
    """Return what is timed, by name."""
    encryptor = Encryptor(SecretKey.from_bytes(bytes(32)))
    pixels = {path: encryptor.encrypt(np.asarray(Image.open(path).convert('RGB')))[0] for path in images}

    def target(path: Path) -> Path:
        return folder / 'out' / f'{images.index(path)}.png'

    def read_and_write(path: Path) -> None:
        np.asarray(Image.open(path).convert('RGB'))
        Image.fromarray(pixels[path]).save(target(path), compress_level=1)

    def at_once(work: Callable[[Path], Any], jobs: int) -> None:
        shutil.rmtree(folder / 'out', ignore_errors=True)
        (folder / 'out').mkdir()
        with ThreadPoolExecutor(jobs) as executor:
            for _ in executor.map(work, images):
                pass

    found: dict[str, Callable[[], None]] = {}
    for jobs in sorted({1, os.cpu_count() or 1}):
        found[f'{jobs} at once: read and write'] = lambda jobs=jobs: at_once(read_and_write, jobs)
        found[f'{jobs} at once: keyprotect encrypt'] = lambda jobs=jobs: at_once(
            lambda path: encryptor.encrypt_file(path, target(path)), jobs
        )
    return found


def client_table(result: dict[str, Any]) -> str:
    """Return the Markdown table."""
    lines = []
    for name, times in result['found'].items():
        alone = result['found'][f'{name.partition(":")[0]}: read and write']['ms']
        rate = 1000 * result['images'] / times['ms']
        lines.append([name, quartiles(times), f'{rate:.0f}', f'{alone / times["ms"]:.2f}'])
    return table_of([f'{result["images"]} images', 'ms', 'images a second', 'of reading and writing'], lines)


def _images(folder: Path, count: int) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[:count]


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', type=Path, nargs='?', default=Path('data/camvid/images/val'), help='folder of images')
    parser.add_argument('--count', type=int, default=100, help='number of images; default: 100')
    parser.add_argument('--repeats', type=int, default=7, help='how often each alternative is timed; default: 7')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the JSON file to make')
    args = parser.parse_args()
    images = _images(args.images, args.count)
    with tempfile.TemporaryDirectory() as folder:
        found = take_turns(alternatives(images, Path(folder)), args.repeats)
    machine = f'{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}'
    sides = 'x'.join(map(str, Image.open(images[0]).size))
    result = dict(machine=machine, pillow=PIL.__version__, images=len(images), size=sides, found=found)
    replace_file(args.out, json.dumps(result) + '\n')
    publish(dict(client=client_table(result)), args.page)


if __name__ == '__main__':
    main()
