"""Reproduce the tables of docs/results.md and docs/security/audit.md: run missing cells, then write the tables.

A cell is one experiment; its result is a JSON file in docs/results/cells. A cell whose file exists is not run again.
Data are read from data/, see configs/README.md. Checkpoints and logs are written to work_dirs/reproduce.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.paper.audit_models import attacked
from benchmarks.paper.audit_tables import draw_budgets, draw_costs, mixing_table
from benchmarks.paper.cells import key_file
from benchmarks.paper.mixing_cells import Mixing
from benchmarks.paper.onlooker_tables import draw_onlooker, onlooker_table, onlookers
from benchmarks.paper.result_models import DEEPLAB, RESULTS, SEGFORMER
from benchmarks.paper.side_tables import SIDES, VOC
from benchmarks.paper.surrogate_tables import surrogates
from benchmarks.paper.tables import Row, Table, write_table
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.files import replace_file

ROOT = Path(__file__).resolve().parents[2]
PAGE, AUDIT_PAGE = Path('docs/results.md'), Path('docs/security/audit.md')
COSTS, BUDGETS = Path('docs/images/audit_cost.png'), Path('docs/images/audit_budget.png')
ONLOOKER = Path('docs/images/onlooker.jpg')
IMAGENET = 'data/weights/mobilenet_v2_imagenet.pth'

AUDIT = attacked(SEGFORMER) | {
    'audit-onlooker': (onlooker_table, onlookers(SEGFORMER.format(''))),
    'audit-private-side': surrogates(VOC, 330),
    'audit-mixing': (mixing_table, [Row('DeepLabV3+', [Mixing(DEEPLAB.format(''), weights=IMAGENET)])]),
}
TABLES: dict[str, tuple[Table, list[Row]]] = {**RESULTS, **AUDIT, **SIDES}
"""Every table by its name: the function that makes it, and its rows."""


def page_of(table: str) -> Path:
    """Return the page that shows a table."""
    return AUDIT_PAGE if table in AUDIT else PAGE


def choose(word: str) -> list[str]:
    """Return the names of the tables that a word selects: the word itself, or what begins with it and a dash."""
    if not (chosen := [name for name in TABLES if name == word or name.startswith(f'{word}-')]):
        raise argparse.ArgumentTypeError(
            f'expected one of {", ".join(TABLES)}, or the first part of several names, but got {word!r}'
        )
    return chosen


def main() -> None:
    """Run the missing cells of the tables, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'tables',
        nargs='+',
        type=choose,
        metavar='TABLE',
        help=f'{", ".join(TABLES)}, or the first part of several names',
    )
    parser.add_argument('--only', default='', help='run only cells whose name contains this text')
    parser.add_argument('--no-run', action='store_true', help='run nothing; write the tables from the cells that exist')
    parser.add_argument('--jobs', type=int, default=1, help='cells to run at a time, one thread each; default: 1')
    args = parser.parse_args()
    os.chdir(ROOT)
    tables = dict.fromkeys(name for names in args.tables for name in names)
    cells = {cell.name: cell for name in tables for row in TABLES[name][1] for cell in row.cells}
    missing = [cell for cell in cells.values() if not cell.file.exists() and args.only in cell.name]
    if not args.no_run:
        for cell in missing:
            key_file(cell.seed)
        if any('_demo-' in cell.name for cell in missing):
            write_demo_scenes('work_dirs/demo/scenes')
        with ThreadPoolExecutor(args.jobs) as pool:
            for number, _ in enumerate(pool.map(lambda cell: cell.run(), missing), 1):
                print(f'{number} of {len(missing)} cells', file=sys.stderr, flush=True)
    for name in tables:
        make, rows = TABLES[name]
        table, page = make(rows), page_of(name)
        replace_file(page, write_table(page.read_text(), name, table))
        print(f'\n{name}\n{table}')
    if 'audit-budget' in tables:
        draw_budgets(TABLES['audit-budget'][1], BUDGETS)
    if 'audit-cost' in tables:
        draw_costs(TABLES['audit-cost'][1], COSTS)
    if 'audit-onlooker' in tables:
        draw_onlooker(TABLES['audit-onlooker'][1], ONLOOKER)


if __name__ == '__main__':
    main()
