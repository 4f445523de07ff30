"""Measure the ciphers on a GPU, in both directions, beside torch's operators and a copy of the images.

The alternatives take turns within one run. CUDA events time 20 calls at once, so that the start of a kernel counts as
it does in a training, where the next one waits in the queue. ``alone`` replays a graph of the same call, without Python
between the kernels. Feature maps are float32 and float16; images are uint8, as the format has them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from prettytable import PrettyTable, TableStyle
from torch import Tensor

from benchmarks.speed.ciphers import CIPHERS, TYPES
from benchmarks.speed.report import publish
from benchmarks.speed.timing import summary
from mmseg_keyprotect.ciphers import FeatureCipher, build_cipher
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.features.encryption import KeyedFeatures

SHAPES = ((8, 3, 512, 1024), (32, 3, 1024, 2048))
MAPS = (32, 64, 128, 256)
BLOCK_SIZES = (2, 4, 16)
CALLS = 20

Alternatives = dict[str, Callable[[], Any]]


def microseconds(alternatives: Alternatives, turns: int) -> dict[str, dict[str, float]]:
    """Time every alternative once in each turn, after one turn that warms up.

    Args:
        alternatives: Functions that start work on the GPU, by name.
        turns: Number of turns that count.

    Returns:
        For each name the median ``us`` and the quartiles ``low`` and ``high``, in microseconds for one call.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(turns + 1):
        for name, run in alternatives.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(CALLS):
                run()
            end.record()
            torch.cuda.synchronize()
            if turn:
                times[name].append(1000 * start.elapsed_time(end) / CALLS)
    return {name: summary(values, 'us', 2) for name, values in times.items()}


def replayed(run: Callable[[], Any]) -> Callable[[], None]:
    """Return the replay of a graph of one call."""
    run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(words: list[str], block_size: int, shape: tuple[int, ...], turns: int, compiled: bool) -> dict[str, Any]:
    """Time one cipher on uint8 images (N, C, H, W)."""
    cfg = [dict(type=TYPES[word], block_size=block_size, allow_weak=True) for word in words]
    cipher = build_cipher(cfg, SecretKey.from_bytes(bytes(32)), 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device='cuda')
    encrypted, kernel = cipher.encrypt(images), cipher._torch_kernel
    assert torch.equal(cipher.decrypt(encrypted), images)
    assert torch.equal(kernel.encrypt_blocks(images), encrypted)
    alternatives: Alternatives = {
        'encrypt': lambda: cipher.encrypt(images),
        'decrypt': lambda: cipher.decrypt(encrypted),
        'copy': images.clone,
        'encrypt alone': replayed(lambda: cipher.encrypt(images)),
        'copy alone': replayed(images.clone),
        'operators encrypt': lambda: kernel.encrypt_blocks(images),
        'operators decrypt': lambda: kernel.decrypt_blocks(encrypted),
    }
    if compiled:
        by_compiler = torch.compile(kernel.encrypt_blocks)
        assert torch.equal(by_compiler(images), encrypted)
        alternatives['torch.compile encrypt'] = lambda: by_compiler(images)
    return dict(cipher='+'.join(words), block_size=block_size, shape=shape, times=microseconds(alternatives, turns))


def measure_maps(dtype: torch.dtype, turns: int) -> dict[str, Any]:
    """Time the default encryption of feature maps (N, C, H, W)."""
    steps = FeatureCipher().steps(SecretKey.from_bytes(bytes(32)), 'stage=0', MAPS[1])
    keyed = KeyedFeatures(steps)
    maps: Tensor = torch.randn(MAPS, device='cuda').to(dtype)
    alternatives: Alternatives = {
        'encrypt': lambda: keyed(maps, 1),
        'copy': maps.clone,
        'encrypt alone': replayed(lambda: keyed(maps, 1)),
        'copy alone': replayed(maps.clone),
    }
    name = f'feature maps, {str(dtype).removeprefix("torch.")}'
    return dict(cipher=name, block_size=1, shape=MAPS, times=microseconds(alternatives, turns))


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    names = ('encrypt', 'decrypt', 'operators encrypt', 'operators decrypt', 'torch.compile encrypt', 'copy')
    table = PrettyTable(
        ['cipher, M, shape', *(f'{name}, us' for name in names), 'copy / encrypt', 'copy / encrypt, alone']
    )
    table.set_style(TableStyle.MARKDOWN)
    for row in rows:
        times = row['times']
        cells = [
            f'{times[name]["us"]:.0f} ({times[name]["low"]:.0f} to {times[name]["high"]:.0f})' if name in times else ''
            for name in names
        ]
        shares = [times['copy' + word]['us'] / times['encrypt' + word]['us'] for word in ('', ' alone')]
        what = f'{row["cipher"]}, {row["block_size"]}, {"x".join(map(str, row["shape"]))}'
        table.add_row([what, *cells, *(f'{share:.0%}' for share in shares)])
    return table.get_string()


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--turns', type=int, default=15, help='how often each alternative is timed; default: 15')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the JSON file to make')
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error('expected a GPU, but torch finds none')
    rows = [
        measure(words, m, shape, args.turns, compiled=words == ['shuffle'] and m == 4)
        for shape in SHAPES
        for m in BLOCK_SIZES
        for words in CIPHERS
    ]
    rows += [measure_maps(dtype, args.turns) for dtype in (torch.float32, torch.float16)]
    result = dict(device=torch.cuda.get_device_name(), torch=torch.__version__, turns=args.turns, rows=rows)
    replace_file(args.out, json.dumps(result) + '\n')
    publish(dict(gpu=table_of(rows)), args.page)


if __name__ == '__main__':
    main()
