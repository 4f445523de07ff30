"""Make the tables of docs/results.md again: train and evaluate every missing cell, then write the table.

A cell is one training with one seed. Its result is a JSON file in docs/results/cells, which the table is made from; a
cell whose file is there is not run again. The data are read from data/ (configs/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey

ROOT = Path(__file__).resolve().parents[1]
CELLS = Path('docs/results/cells')
PAGE = Path('docs/results.md')
WORK = Path('work_dirs/reproduce')
WRONG_KEYS = 10

SEGFORMER = 'segformer_mit-b0{}_1xb8-0.4k_camvid-160x160'
DEEPLAB = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
DEEPLAB_VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
CIPHERS = {'shf': 'shuffle', 'np': 'negative-positive', 'ffx': 'ffx', 'shfnp': 'shuffle + negative-positive'}


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        label: What it is called.
        config: The name of the configuration, without ``.py``.
        seeds: One cell each.
    """

    label: str
    config: str
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def cells(self) -> list[Path]:
        """The files of the cells."""
        return [CELLS / f'{self.config}_seed{seed}.json' for seed in self.seeds]


def fine_tuning(model: str, seeds: tuple[int, ...]) -> list[Row]:
    """Unprotected, the published way for every cipher, and a block stem, all with M = 4."""
    published = [Row(f'{words}, own stem', model.format(f'_{word}-b4'), seeds) for word, words in CIPHERS.items()]
    ours = Row('**shuffle + negative-positive, block stem**', model.format('_shfnp-b4-stem'), seeds)
    return [Row('unprotected', model.format(''), seeds), *published, ours]


TABLES: dict[str, list[Row]] = {
    'fine-tuning-camvid': fine_tuning(DEEPLAB, (0, 1, 2)),
    'fine-tuning-voc': fine_tuning(DEEPLAB_VOC, (0,)),
    'scratch': [
        Row('unprotected, own stem', SEGFORMER.format('')),
        Row('unprotected, block stem', SEGFORMER.format('_b4-stem')),
        Row('**shuffle + negative-positive, block stem**', SEGFORMER.format('_shfnp-b4-stem')),
        Row('shuffle + negative-positive, own stem', SEGFORMER.format('_shfnp-b4')),
    ],
}
"""Every table by name; the first row is what the price is measured against."""


def run_cell(config: str, seed: int) -> None:
    """Train one model, evaluate it, and write its cell."""
    work = WORK / f'{config}_seed{seed}'
    key = WORK / f'seed{seed}.key'
    source = config_file(config, work)
    environment = dict(os.environ, OMP_NUM_THREADS='1', KEYPROTECT_KEY_FILE=str(key))
    options = [f'randomness.seed={seed}']
    if not list(work.glob('iter_*.pth')):
        command = ['tools/train.py', source, '--work-dir', work, '--cfg-options', *options]
        call(command, environment, work / 'train.log')
    checkpoint = next(work.glob('iter_*.pth'))
    result = dict(config=config, seed=seed, iterations=int(checkpoint.stem.split('_')[1]))
    log = sorted(work.glob('*/vis_data/scalars.json'))[-1]
    scores = next(line for line in map(json.loads, reversed(log.read_text().splitlines())) if 'mIoU' in line)
    result['mIoU'] = round(scores['mIoU'], 2)
    if protection(config):
        out = work / 'access'
        if not (out / 'access.json').exists():
            command = ['tools/evaluate_access.py', source, checkpoint, '--wrong-keys', str(WRONG_KEYS)]
            call([*command, '--known', '--pictures', '0', '-o', out], environment, work / 'access.log')
        report = json.loads((out / 'access.json').read_text())
        by_kind = {kind: [row['mIoU'] for row in report['rows'] if row['kind'] == kind] for kind in ('none', 'wrong')}
        result.update(no_key=by_kind['none'][0], wrong_keys=by_kind['wrong'], floor=report['floor']['mIoU'])
        result.update(leak=report['leak'], cipher=report['cipher'], key_space_bits=report['key_space_bits'])
    result.update(torch=torch.__version__, threads=1)
    CELLS.mkdir(parents=True, exist_ok=True)
    replace_file(CELLS / f'{config}_seed{seed}.json', json.dumps(result) + '\n')


def protection(config: str) -> str:
    """Return the protection's part of a configuration's name, such as ``shfnp-b4``; empty where it has none."""
    return next((part for part in config.split('_') if part.split('-')[0] in CIPHERS), '')


def config_file(config: str, work: Path) -> str:
    """Return the file of a configuration; one that is not in configs/ is made of its unprotected one."""
    file = next((ROOT / 'configs').glob(f'*/{config}.py'), None)
    if file is not None:
        return os.path.relpath(file)
    word = protection(config)
    plain = next((ROOT / 'configs').glob(f'*/{config.replace(f"_{word}", "")}.py'))
    bases = [os.path.relpath(base, work) for base in (plain, ROOT / 'configs/_base_/protections' / f'{word}.py')]
    work.mkdir(parents=True, exist_ok=True)
    file = work / f'{config}.py'
    file.write_text(
        f'_base_ = {bases}\ndata_preprocessor = _base_.protection\nmodel = dict(data_preprocessor=data_preprocessor)\n'
    )
    return str(file)


def call(command: list, environment: dict[str, str], log: Path) -> None:
    """Run one of the tools, its output to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w') as opened:
        code = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, stdout=opened, stderr=subprocess.STDOUT
        ).returncode
    if code:
        raise RuntimeError(f'{command[0]} failed, see {log}')


def table_of(rows: list[Row]) -> str:
    """Return a table as Markdown; what has not been run is shown as missing."""
    fields = ['mIoU, correct key', 'price', 'no key', 'wrong keys: mean', 'best', 'worst leak', 'seeds']
    table = PrettyTable(['trained with', *fields], align='r')
    table.align['trained with'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    first = [read(file)['mIoU'] for file in rows[0].cells if file.exists()]
    for row in rows:
        cells = [read(file) for file in row.cells if file.exists()]
        if not cells:
            table.add_row([row.label, *['missing'] * (len(fields) - 1), f'0 of {len(row.seeds)}'])
            continue
        price = f'{mean(first) - mean(cell["mIoU"] for cell in cells):.2f}' if first and row is not rows[0] else ''
        line = [row.label, spread([cell['mIoU'] for cell in cells]), price]
        if 'no_key' in cells[0]:
            wrong = [score for cell in cells for score in cell['wrong_keys']]
            leaks = [cell['leak'] for cell in cells]
            line += [spread([cell['no_key'] for cell in cells]), f'{mean(wrong):.2f}', f'{max(wrong):.2f}']
            line += [f'{max(leaks):.2f}']
        line += [''] * (len(fields) - len(line))
        seeds = f'{len(cells)}' if len(cells) == len(row.seeds) else f'{len(cells)} of {len(row.seeds)}'
        table.add_row([*line, seeds])
    return table.get_string()


def read(file: Path) -> dict:
    """Read a cell."""
    return json.loads(file.read_text())


def spread(scores: list[float]) -> str:
    """Return a mean, with the standard deviation where there are several."""
    return f'{mean(scores):.2f}' + (f' ± {stdev(scores):.2f}' if len(scores) > 1 else '')


def write_table(page: str, name: str) -> str:
    """Return the page with the table of that name between its marks."""
    begin, end = f'<!-- table {name} -->\n', '<!-- end -->'
    if begin not in page:
        return page
    before, _, rest = page.partition(begin)
    return f'{before}{begin}{table_of(TABLES[name])}\n{end}{rest.partition(end)[2]}'


def main() -> None:
    """Run the missing cells of the tables, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('tables', nargs='+', choices=list(TABLES), metavar='TABLE', help=', '.join(TABLES))
    parser.add_argument('--only', default='', help='run only the cells whose name holds this text')
    parser.add_argument('--no-run', action='store_true', help='write the tables of the cells that are there')
    parser.add_argument('--jobs', type=int, default=1, help='cells at a time, one thread each')
    args = parser.parse_args()
    os.chdir(ROOT)
    missing = {
        (row.config, seed): None
        for name in args.tables
        for row in TABLES[name]
        for seed, file in zip(row.seeds, row.cells, strict=True)
        if not file.exists() and args.only in file.stem
    }
    if not args.no_run:
        for seed in {seed for _, seed in missing}:
            if not (WORK / f'seed{seed}.key').exists():
                WORK.mkdir(parents=True, exist_ok=True)
                SecretKey.generate().save(WORK / f'seed{seed}.key')
        with ThreadPoolExecutor(args.jobs) as pool:
            for number, _ in enumerate(pool.map(lambda cell: run_cell(*cell), missing), 1):
                print(f'{number} of {len(missing)} cells', flush=True)
    for name in args.tables:
        replace_file(PAGE, write_table(PAGE.read_text(), name))
        print(f'\n{name}\n{table_of(TABLES[name])}')


if __name__ == '__main__':
    main()
