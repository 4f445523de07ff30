"""Measure how time and memory grow: with pixels, M, users, workers, the size of a checkpoint, and models.

Every measurement runs in a process of its own, on one thread. Its memory is the peak above what the
process had when the work began. Linux only. The largest checkpoint needs 10 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.registry import init_default_scope

from benchmarks.speed.access import BINDINGS, MODELS, alternatives, evaluation_of
from benchmarks.speed.keys import temporary_key
from benchmarks.speed.report import publish, table_of
from benchmarks.speed.timing import begin_peak, memory
from benchmarks.speed.training import measure_workers
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.protection import protect_checkpoint, rekey_checkpoint
from mmseg_keyprotect.protection.checkpoints import build_model
from mmseg_keyprotect.sealing import KeyRecipient, open_sealed, seal_file

KEY = SecretKey.from_bytes(bytes(32))
CIPHER = [dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4)]
SIDES = (256, 512, 1024, 2048, 4096, 8192, 13000)
FILE_SIDES = (*SIDES[:-1], 9400)
"""Files of more than 134 megapixels are refused."""

BLOCK_SIZES = (2, 4, 8, 16, 32, 64, 128)
USERS = (4, 8, 16, 32, 64)
WORKERS = (0, 1, 2, 4)
GIGABYTES = (0.1, 0.3, 1, 3)
SIZES = {
    'PSPNet, ResNet-50': 'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'DeepLabV3+, ResNet-101': 'mmseg::deeplabv3plus/deeplabv3plus_r101-d8_4xb2-40k_cityscapes-512x1024.py',
    'SegFormer, MiT-B5': 'mmseg::segformer/segformer_mit-b5_8xb1-160k_cityscapes-1024x1024.py',
}


def measured(work: Callable[[], Any], size: float) -> dict[str, float]:
    """Return the seconds that some work takes, its peak memory in MB, and that in multiples of ``size`` bytes.

    ``own`` is the same without files that are mapped, which the system may drop from memory at any moment; it is
    looked up every two milliseconds.
    """
    before, own_before, own, done = memory('VmRSS'), memory('RssAnon'), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            own[0] = max(own[0], memory('RssAnon') - own_before)

    watcher = threading.Thread(target=watch)
    begin_peak()
    watcher.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    peak = (memory('VmHWM') - before) * 2**20
    return dict(
        seconds=round(seconds, 4),
        MB=round(peak / 1e6, 1),
        times=round(peak / size, 2),
        own=round(own[0] * 2**20 / size, 2),
    )


def cipher(side: int, block_size: int) -> dict[str, float]:
    """Encrypt an image in memory; the second time counts, as for the second image of a data set."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    built = build_cipher([{**one, 'block_size': block_size, 'allow_weak': True} for one in CIPHER], KEY, 3)
    built.encrypt(image[: block_size * 2])
    return measured(lambda: built.encrypt(image), image.nbytes)


def derivation(block_size: int) -> dict[str, float]:
    """Derive a cipher from a key, and prepare it."""
    image = np.zeros((block_size, block_size, 3), np.uint8)
    small = [{**one, 'block_size': block_size, 'allow_weak': True} for one in CIPHER]
    return measured(lambda: build_cipher(small, KEY, 3).encrypt(image), image.nbytes)


def client(side: int, folder: str) -> dict[str, float]:
    """Encrypt a PNG file of noise, the slowest there is."""
    from PIL import Image

    source = Path(folder) / f'{side}.png'
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(image).save(source, compress_level=1)
    size = image.nbytes
    del image
    encryptor = Encryptor(KEY)
    found = measured(lambda: encryptor.encrypt_file(source, source.with_name(f'{side}_encrypted.png')), size)
    for path in Path(folder).glob(f'{side}*.png'):
        path.unlink()
    return found


def users(count: int) -> dict[str, float]:
    """Let one image go through the network for so many users of an access report."""
    with temporary_key() as folder:
        evaluation = evaluation_of(MODELS['SegFormer-B0'], BINDINGS['images'], folder)
        report = alternatives(evaluation, count)['report']
        report()
        return measured(report, 240 * 180 * 3)


def workers(count: int) -> dict[str, float]:
    """Load an epoch of CamVid, plain and encrypted; in images a second."""
    init_default_scope('mmseg')
    with temporary_key():
        return measure_workers([count], 3)[0]


def sealing(gigabytes: float, folder: str) -> dict[str, dict[str, float]]:
    """Seal a file of this size, and read it back."""
    plain, sealed = Path(folder) / 'plain', Path(folder) / 'sealed'
    rng, size = np.random.default_rng(0), int(gigabytes * 1e9)
    with open(plain, 'wb') as file:
        for start in range(0, size, 2**24):
            file.write(rng.bytes(min(2**24, size - start)))

    def unseal() -> None:
        with open_sealed(sealed, KEY) as reader:
            while reader.read(2**20):
                pass

    found = {
        'seal': measured(lambda: seal_file(plain, sealed, [KeyRecipient(KEY)]), size),
        'read': measured(unseal, size),
    }
    plain.unlink()
    sealed.unlink()
    return found


def checkpoint(config: str, folder: str) -> dict[str, int]:
    """Write a checkpoint of the untrained model, and two keys."""
    state = build_model(load_config(config)).state_dict()
    torch.save(dict(state_dict=state, meta={}), Path(folder) / 'model.pth')
    for name in ('old.key', 'new.key'):
        SecretKey.generate().save(Path(folder) / name)
    return dict(bytes=sum(one.nbytes for one in state.values()))


def step(name: str, config: str, folder: str) -> dict[str, float]:
    """Take one step with the checkpoint in the folder: ``protect``, ``seal`` or ``rekey``."""
    torch.set_num_threads(1)
    work = Path(folder)
    old, new = (dict(type='KeyFile', path=str(work / file)) for file in ('old.key', 'new.key'))
    bound = work / 'bound'
    steps = {
        'protect': lambda: protect_checkpoint(config, work / 'model.pth', bound, CIPHER, old),
        'seal': lambda: seal_file(bound / 'model.pth', work / 'sealed.pth', [KeyRecipient(KEY)]),
        'rekey': lambda: rekey_checkpoint(bound / Path(config).name, bound / 'model.pth', work / 'new.pth', new, old),
    }
    build_model(load_config(MODELS['SegFormer-B0']))  # all that is imported on the way
    return measured(steps[name], (work / 'model.pth').stat().st_size)


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function gives in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(work, *arguments).result()


def measure(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Take all measurements."""
    pixels = [dict(megapixels=side**2 / 1e6, **apart(cipher, side, 4)) for side in SIDES]
    blocks = [dict(M=m, **apart(cipher, 2048, m)) for m in BLOCK_SIZES]
    derived = [dict(M=m, **apart(derivation, m)) for m in BLOCK_SIZES]
    files = [dict(megapixels=side**2 / 1e6, **apart(client, side, folder)) for side in FILE_SIDES]
    people = [dict(users=count, **apart(users, count)) for count in USERS]
    found: dict[str, list[dict[str, Any]]] = dict(
        cipher=pixels, blocks=blocks, keys=derived, client=files, users=people
    )
    found |= {'workers': [apart(workers, count) for count in WORKERS], 'seal': [], 'read': [], 'models': []}
    for gigabytes in GIGABYTES:
        for name, one in apart(sealing, gigabytes, folder).items():
            found[name].append(dict(gigabytes=gigabytes, **one))
    for name, config in SIZES.items():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            size = apart(checkpoint, config, work)['bytes']
            for what in ('protect', 'seal', 'rekey'):
                found['models'].append(
                    dict(model=name, MB_model=size / 1e6, step=what, **apart(step, what, config, work))
                )
    return found


CURVES = {
    'cipher': ('megapixels', 'encrypting an array, M = 4'),
    'blocks': ('M', 'encrypting 2048 x 2048'),
    'keys': ('M', 'deriving the cipher from the key'),
    'client': ('megapixels', '`encrypt_file`, PNG of noise'),
    'users': ('users', 'an image for the access report'),
    'seal': ('gigabytes', '`seal_file`'),
    'read': ('gigabytes', 'reading a sealed file'),
}
"""For each curve what is on the x-axis, and its name."""


def growth_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the table of the curves, smallest to largest."""
    rows = []
    for curve, (axis, name) in CURVES.items():
        for one in found[curve]:
            of_input = '' if curve in ('users', 'keys') else f'{one["times"]:.2f}'
            rows.append([name, f'{one[axis]:g} {axis}', f'{one["seconds"]:.3g}', f'{one["MB"]:.0f}', of_input])
    return table_of(['what', 'of', 'seconds', 'peak MB', 'peak / input'], rows)


def models_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of the models."""
    lines = [
        [
            row['model'],
            f'{row["MB_model"]:.0f}',
            row['step'],
            f'{row["seconds"]:.1f}',
            f'{row["times"]:.2f}',
            f'{row["own"]:.2f}',
        ]
        for row in rows
    ]
    return table_of(['model', 'MB', 'step', 'seconds', 'peak / checkpoint', 'without mapped files'], lines)


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write a plot of time and memory."""
    figure = Figure(figsize=(15, 5.5), layout='constrained')
    axes = figure.subplots(2, 5)
    panels = (('megapixels', ('cipher', 'client')), ('M', ('blocks', 'keys')), ('users', ('users',)))
    for column, (label, names) in enumerate((*panels, ('gigabytes', ('seal', 'read')))):
        for row, unit in enumerate(('seconds', 'MB')):
            for name in names:
                points = [(one[label], one[unit]) for one in found[name]]
                axes[row, column].plot(*zip(*points, strict=True), marker='o', label=CURVES[name][1].replace('`', ''))
            axes[row, column].set(xscale='log', yscale='log', xlabel=label, ylabel=unit.replace('MB', 'peak MB'))
            axes[row, column].spines[['top', 'right']].set_visible(False)
        axes[0, column].legend(frameon=False, fontsize=8)
    for name in ('plain', 'encrypted'):
        axes[0, 4].plot(
            [one['workers'] for one in found['workers']],
            [one[name] for one in found['workers']],
            marker='o',
            label=name,
        )
    axes[0, 4].set(xlabel='worker processes', ylabel='images a second')
    axes[0, 4].set_ylim(bottom=0)
    axes[0, 4].spines[['top', 'right']].set_visible(False)
    axes[0, 4].legend(frameon=False, fontsize=8)
    axes[1, 4].remove()
    figure.savefig(path, dpi=110, facecolor='white')


def main() -> None:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--page', type=Path, help='Markdown page to write the tables into, between its marks')
    parser.add_argument(
        '-o', '--out', type=Path, default=Path('work_dirs/growth'), help='folder for growth.json and .png'
    )
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'  # of the processes that measure
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        found = measure(folder)
    replace_file(args.out / 'growth.json', json.dumps(dict(machine=platform.machine(), **found)) + '\n')
    draw(found, args.out / 'growth.png')
    publish(dict(growth=growth_table(found), models=models_table(found['models'])), args.page)


if __name__ == '__main__':
    main()
