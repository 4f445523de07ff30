"""Measure data sets at rest: loading sealed beside plain images, and sealing and encrypting beside a plain copy.

The images of CamVid are loaded by MMSegmentation's data loader. The data sets that are sealed, encrypted and copied are
many small images that are drawn, and few photos of CamVid that are enlarged to two megapixels, each with a label map.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

import mmseg_keyprotect.datasets  # noqa: F401  registers, and mmseg with it
from benchmarks.speed.keys import temporary_key
from benchmarks.speed.report import publish, quartiles, table_of
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.shards import encrypt_data_set, seal_data_set

CAMVID = Path('data/camvid')
SIDE = 64
"""Of the drawn images, in pixels."""

LARGE, LARGE_COUNT = (1632, 1224), 40
"""Size, (width, height) in pixels, and number of the large images."""


def epoch(root: Path, sealed: bool, workers: int) -> Callable[[], Any]:
    """Return a function that loads every training image of CamVid with its label map."""
    loading: list[dict[str, Any]] = [dict(type=f'Load{name}') for name in ('ImageFromFile', 'Annotations')]
    options: dict[str, Any] = {}
    if sealed:
        loading = [dict(type='LoadSealedImage'), dict(type='LoadSealedAnnotations')]
        options = dict(backend_args=dict(backend='sealed_data_set'))
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
        pipeline=[*loading, dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')],
        **options,
    )
    loader = Runner.build_dataloader(
        Config(
            dict(
                dataset=dataset,
                batch_size=8,
                num_workers=workers,
                persistent_workers=workers > 0,
                sampler=dict(type='DefaultSampler', shuffle=True),
            )
        ),
        seed=0,
    )
    return lambda: [None for _ in loader]


def draw(folder: Path, count: int) -> None:
    """Write a data set of noise."""
    rng = np.random.default_rng(0)
    for name in ('images', 'annotations'):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f'images/{number:06}.png', compress_level=1)
        Image.fromarray(image[..., 0] % 11).save(folder / f'annotations/{number:06}.png', compress_level=1)


def enlarge(folder: Path) -> None:
    """Write photos of CamVid in two megapixels, as JPEG, with their label maps."""
    for name in ('images', 'annotations'):
        (folder / name).mkdir(parents=True)
    for photo in sorted((CAMVID / 'images/train').iterdir())[:LARGE_COUNT]:
        Image.open(photo).resize(LARGE).save(folder / 'images' / f'{photo.stem}.jpg', quality=90)
        label = Image.open(CAMVID / 'annotations/train' / f'{photo.stem}.png')
        label.resize(LARGE, Image.Resampling.NEAREST).save(folder / 'annotations' / f'{photo.stem}.png')


def rows_of(plain: Path, folder: Path, count: int, repeats: int) -> list[list[str]]:
    """Measure all ways to make another data set of one, and return a row for each."""
    sizes: dict[str, int] = {}

    def measured(name: str, work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()
            sizes[name] = sum(file.stat().st_size for file in (folder / 'out').rglob('*') if file.is_file())

        return run

    ways = {name: measured(name, work) for name, work in writers(plain, folder).items()}
    times = take_turns(ways, repeats, warm_up=repeats > 1)
    return [
        [
            name,
            f'{one["ms"] / 1000:.1f}',
            f'{1000 * count / one["ms"]:.0f}',
            f'{one["ms"] / times["copy"]["ms"]:.1f}',
            f'{sizes[name] / count / 1000:.1f}',
        ]
        for name, one in times.items()
    ]


def writers(plain: Path, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the ways to make another data set of one."""
    key = SecretKey.from_bytes(bytes(32))

    def anew(work: Callable[[Path], Any]) -> Callable[[], None]:
        def run() -> None:
            shutil.rmtree(folder / 'out', ignore_errors=True)
            work(folder / 'out')

        return run

    found: dict[str, Callable[[], Any]] = {'copy': anew(lambda out: shutil.copytree(plain, out))}
    for jobs in sorted({1, os.cpu_count() or 1}):
        size = dict(jobs=jobs, shard_bytes=4_000_000)
        found[f'seal, {jobs} at once'] = anew(lambda out, o=size: seal_data_set(plain, out, [KeyRecipient(key)], **o))
        found[f'encrypt, {jobs} at once'] = anew(lambda out, o=size: encrypt_data_set(plain, out, key, **o))
        found[f'encrypt to tar, {jobs} at once'] = anew(
            lambda out, o=size: encrypt_data_set(plain, out, key, form='webdataset', **o)
        )
    return found


def main() -> None:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=500, help='images that are drawn; default: 500')
    parser.add_argument('--repeats', type=int, default=5, help='how often loading is timed; default: 5')
    parser.add_argument('--page', type=Path, help='Markdown page to write the tables into, between its marks')
    args = parser.parse_args()
    init_default_scope('mmseg')
    tables = {}
    with temporary_key() as folder:
        key = SecretKey.load(folder / 'benchmark.key')
        seal_data_set(CAMVID, folder / 'sealed', [KeyRecipient(key)], shard_bytes=16_000_000)
        rows = []
        for workers in (0, 1, 2):
            ways = {
                name: epoch(root, name == 'sealed', workers)
                for name, root in (('plain', CAMVID), ('sealed', folder / 'sealed'))
            }
            times = take_turns(ways, args.repeats)
            ratio = times['sealed']['ms'] / times['plain']['ms']
            rows.append([str(workers), quartiles(times['plain']), quartiles(times['sealed']), f'{ratio:.2f}'])
        tables['sealed-loading'] = table_of(['workers', 'plain ms', 'sealed ms', 'sealed / plain'], rows)
        head = ['what', 'seconds', 'images a second', 'times a copy', 'kB an image']
        with tempfile.TemporaryDirectory() as drawn:
            draw(Path(drawn) / 'plain', args.count)
            tables['data-sets'] = table_of(head, rows_of(Path(drawn) / 'plain', Path(drawn), args.count, 1))
        with tempfile.TemporaryDirectory() as drawn:
            enlarge(Path(drawn) / 'plain')
            tables['data-sets-large'] = table_of(head, rows_of(Path(drawn) / 'plain', Path(drawn), LARGE_COUNT, 3))
    publish(tables, args.page)


if __name__ == '__main__':
    main()
