"""Measure opening sealed files beside opening the plain ones by the same library: torch, safetensors, onnxruntime.

The command makes a checkpoint, a safetensors file and an ONNX file, and seals each. The ways to open them take turns
within one run, first from the memory of the operating system, then from the disk. Each is timed in a fork of the
process, so that all start with the same memory, as a process that opens one file does. Linux only.

The library safetensors maps a plain file and reads no byte before it is used. So the tensors are also copied into the
weights of a model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cryptography
import torch
from onnx import TensorProto, helper, numpy_helper, save_model

from benchmarks.speed.report import publish, quartiles, table_of
from benchmarks.speed.timing import begin_peak, memory, summary
from mmseg_keyprotect.engine.sealed_checkpoints import load_from_sealed
from mmseg_keyprotect.engine.sealed_tensors import SealedTensors
from mmseg_keyprotect.export import ExportedModel
from mmseg_keyprotect.export.exported_model import METADATA
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, seal_file

KEY = SecretKey.from_bytes(bytes(32))
LAYERS = ((768, 768), (3072, 768), (768, 3072), (768,), (2304, 768))
"""Shapes of the weights, those of a vision transformer, again and again."""

SIDE = 1024
"""Channels of the layers of the ONNX file."""


def make_files(folder: Path, megabytes: int) -> None:
    """Write the three files of about this size, and seal each."""
    import safetensors.torch

    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    while sum(one.nbytes for one in state.values()) < megabytes * 1e6:
        state[f'layer{len(state)}.weight'] = torch.randn(LAYERS[len(state) % len(LAYERS)])
    torch.save(dict(state_dict=state, meta={}), folder / 'pth')
    safetensors.torch.save_file(state, folder / 'safetensors')
    _save_onnx(folder / 'onnx', round(megabytes * 1e6 / 4 / SIDE**2))
    for name in ('pth', 'safetensors', 'onnx'):
        seal_file(folder / name, folder / f'{name}.sealed', [KeyRecipient(KEY)])


def _save_onnx(path: Path, layers: int) -> None:
    names = ['image', *(f'x{i}' for i in range(layers - 1)), 'mask']
    weights = [numpy_helper.from_array(torch.randn(SIDE, SIDE).numpy(), f'w{i}') for i in range(layers)]
    nodes = [helper.make_node('MatMul', [names[i], f'w{i}'], [names[i + 1]]) for i in range(layers)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 1, SIDE]) for name in ('image', 'mask')]
    model = helper.make_model(
        helper.make_graph(nodes, 'layers', ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid('', 20)],
        ir_version=10,
    )
    helper.set_model_props(model, {METADATA: json.dumps(dict(block_size=1))})
    save_model(model, path)


def alternatives(folder: Path, target: dict[str, torch.Tensor]) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return what is compared: for each kind of file the ways to open it, the plain one first.

    Args:
        folder: The files.
        target: The weights of a model, which the safetensors are copied into.
    """
    import onnxruntime
    import safetensors.torch

    def copy_plain() -> None:
        _copy_into(target, safetensors.torch.load_file(folder / 'safetensors'))

    def copy_sealed() -> None:
        with SealedTensors(folder / 'safetensors.sealed', KEY) as tensors:
            _copy_into(target, tensors)

    def all_sealed() -> dict[str, torch.Tensor]:
        with SealedTensors(folder / 'safetensors.sealed', KEY) as tensors:
            return dict(tensors)

    return {
        'pth': {
            'torch.load': lambda: torch.load(folder / 'pth', weights_only=True),
            'sealed': lambda: load_from_sealed(str(folder / 'pth.sealed'), key=KEY),
        },
        'safetensors': {
            'load_file, copied into a model': copy_plain,
            'SealedTensors, copied into a model': copy_sealed,
            'load_file, not read': lambda: safetensors.torch.load_file(folder / 'safetensors'),
            'all of SealedTensors': all_sealed,
        },
        'onnx': {
            'InferenceSession': lambda: onnxruntime.InferenceSession(folder / 'onnx'),
            'ExportedModel, plain': lambda: ExportedModel.open(folder / 'onnx'),
            'ExportedModel, sealed': lambda: ExportedModel.open(folder / 'onnx.sealed', KEY),
        },
    }


def _copy_into(target: dict[str, torch.Tensor], tensors: Any) -> None:
    for name in tensors:
        target[name].copy_(tensors[name])


def forget(folder: Path) -> None:
    """Ask the operating system to drop its copy of the files, so that they are read from the disk."""
    for path in folder.iterdir():
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def once(folders: tuple[Path, Path], kind: str, way: str, cold: bool) -> tuple[float, float]:
    """Open a file in a fork of this process.

    Args:
        folders: That of small files, which are opened first, so that libraries are ready; and that of the files.
        kind: The kind of the file.
        way: The way to open it.
        cold: Whether it is read from the disk.

    Returns:
        Milliseconds, and the MB by which the memory of the process grew at most.
    """

    def measured() -> tuple[float, float]:
        for folder in folders:
            target = _model_of(folder) if way.endswith('model') else {}
            run = alternatives(folder, target)[kind][way]
            if cold:
                forget(folder)
            before = memory('VmRSS')
            begin_peak()
            start = time.perf_counter()
            kept = run()  # not freed before the peak is read
            ms = 1000 * (time.perf_counter() - start)
            grown = (memory('VmHWM') - before) * 1.048576
            del kept
        return ms, grown

    ms, grown = _in_fork(measured)
    return ms, grown


def _in_fork(run: Callable[[], Any]) -> Any:
    """Return what a function returns in a fork of this process, through JSON."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(run()).encode())
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


def _model_of(folder: Path) -> dict[str, torch.Tensor]:
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / 'safetensors')
    return {name: torch.ones_like(one) for name, one in tensors.items()}


def measure(megabytes: int, turns: int) -> dict[str, Any]:
    """Make the files, and time and weigh every way to open them."""
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name) / 'small', Path(name) / 'files'
        for one, size in zip(folders, (8, megabytes), strict=True):
            one.mkdir()
            _in_fork(lambda one=one, size=size: make_files(one, size))  # its memory stays there
        os.sync()  # pages that are not written yet cannot be dropped
        sizes = {path.name: path.stat().st_size for path in folders[1].iterdir()}
        found: dict[str, Any] = {}
        for kind, ways in alternatives(folders[1], {}).items():
            found[kind] = {}
            for column, cold in (('cached', False), ('disk', True)):
                taken = [{way: once(folders, kind, way, cold) for way in ways} for _ in range(turns + 1)][1:]
                found[kind][column] = {way: summary([one[way][0] for one in taken], 'ms', 2) for way in ways}
                if not cold:
                    found[kind]['peak'] = {way: summary([one[way][1] for one in taken], 'mb', 1) for way in ways}
    return dict(sizes=sizes, found=found)


def sealed_table(result: dict[str, Any]) -> str:
    """Return the Markdown table."""
    lines = []
    for kind, found in result['found'].items():
        for way in found['cached']:
            cells = [f'{kind}: {way}']
            for column in (found['cached'], found['disk']):
                plain = next(iter(column.values()))['ms']
                cells += [quartiles(column[way]), f'{column[way]["ms"] / plain:.2f}']
            lines.append([*cells, f'{found["peak"][way]["mb"] / result["sizes"][kind] * 1e6:.2f}'])
    return table_of(['file and way', 'cached ms', 'ratio', 'from disk ms', 'ratio ', 'peak memory / file'], lines)


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--megabytes', type=int, default=200, help='size of each file; default: 200')
    parser.add_argument('--turns', type=int, default=15, help='how often each alternative is timed; default: 15')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the JSON file to make')
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = f'{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}'
    versions = dict(torch=torch.__version__, cryptography=cryptography.__version__)
    result = dict(machine=machine, **versions, turns=args.turns, **measure(args.megabytes, args.turns))
    replace_file(args.out, json.dumps(result) + '\n')
    publish(dict(sealed=sealed_table(result)), args.page)


if __name__ == '__main__':
    main()
