"""Small data sets on disk, drawn for tests."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import ROOT
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.shards import encrypt_data_set, seal_data_set

SMALL = 2000
"""Bytes of a shard, so that there are several."""


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


def seal(plain: Path, key, name='sealed', **options):
    """Seal a data set into a folder beside it, into several shards."""
    options = dict(shard_bytes=SMALL, jobs=2, key=key) | options
    return seal_data_set(plain, plain.parent / name, [KeyRecipient(key)], key.key_id, **options)


def encrypt(plain: Path, key, name='encrypted', **options):
    """Encrypt a data set block by block into a folder beside it."""
    return encrypt_data_set(plain, plain.parent / name, key, **dict(jobs=2) | options)


def kill_twenty_times(folder: Path, words: list[str], checked: str, made: str) -> None:
    """Run a command of ``keyprotect dataset`` on 60 images twenty times, and kill it; then let it end.

    Args:
        folder: Where it runs; it gets the data set ``plain``.
        words: The command, without what is common to both.
        checked: The module in which the check of each pair is slowed down.
        made: The pattern of the files that the command makes, and must not make again.
    """
    write_data_set(folder / 'plain', count=60, size=(400, 300))  # a shard has two or three
    slow = f'import sys, time; from mmseg_keyprotect.shards import {checked} as module; check = module.check_pair\n'
    slow += 'module.check_pair = lambda *pair: (time.sleep(0.05), check(*pair))\n'
    slow += 'from mmseg_keyprotect.cli.main import main; sys.exit(main(sys.argv[1:]))'
    command = [
        sys.executable,
        '-c',
        slow,
        'dataset',
        *words,
        '--key-file',
        'my.key',
        '--shard-size',
        '1',
        '--jobs',
        '1',
    ]
    options = dict(cwd=folder, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL)
    rng, killed, begun = random.Random(0), 0, set()
    for _ in range(20):
        before = {path: path.stat().st_mtime_ns for path in folder.glob(made)}
        process = subprocess.Popen(command, **options)
        wanted = len(before) + rng.randrange(4)
        while process.poll() is None and len(list(folder.glob(made))) < wanted:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
        begun.add(len(before))
    assert killed > 5
    assert len(begun) > 3  # it was killed between shards
    assert subprocess.run(command, **options).returncode == 0
