"""Tables of ``python -m benchmarks.speed``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prettytable import PrettyTable, TableStyle

from benchmarks.paper.tables import write_table
from mmseg_keyprotect.files import replace_file


def table_of(fields: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is aligned to the left."""
    table = PrettyTable(fields, align='r')
    table.align[fields[0]] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    table.add_rows(rows)
    return table.get_string()


def cipher_table(rows: list[dict[str, Any]]) -> str:
    """Return a table with one row for each cipher, block size, image size and number of threads."""
    columns = ['compiled', 'OpenCV', 'numpy', 'torch', 'decrypt', 'published', 'naive', 'copy']
    fields = [
        'cipher, M, image, threads',
        *(f'{name} ms' for name in columns),
        'published / compiled',
        'compiled / copy',
    ]
    lines = []
    for row in rows:
        ms = {name: times['ms'] for name, times in row['times'].items()}
        name = f'{row["cipher"]}, {row["block_size"]}, {row["size"][0]}x{row["size"][1]}, {row["threads"]}'
        numbers = [quartiles(row['times'][column]) for column in columns]
        lines.append([name, *numbers, f'{ms["published"] / ms["compiled"]:.0f}', f'{ms["compiled"] / ms["copy"]:.1f}'])
    return table_of(fields, lines)


def target_table(rows: list[dict[str, Any]]) -> str:
    """Return a table with the range of the ratios of each cipher, on one thread."""
    lines = []
    for cipher in dict.fromkeys(row['cipher'] for row in rows):
        ms = [
            {name: times['ms'] for name, times in row['times'].items()}
            for row in rows
            if row['cipher'] == cipher and row['threads'] == 1
        ]
        faster = sorted(one['published'] / one['compiled'] for one in ms)
        copies = sorted(one['compiled'] / one['copy'] for one in ms)
        lines.append([cipher, f'{faster[0]:.0f} to {faster[-1]:.0f}', f'{copies[0]:.1f} to {copies[-1]:.1f}'])
    return table_of(['cipher', 'times the published form', 'copies of the image'], lines)


def mmseg_table(result: dict[str, Any]) -> str:
    """Return a table with the cost of encryption inside MMSegmentation."""
    lines = []
    for title, key, first in (
        ('training pipeline, an image', 'pipeline', 'plain'),
        ('training step, batch of 8', 'step', 'unprotected'),
        ('inference, an image', 'inference', 'unprotected'),
    ):
        for name, times in result[key].items():
            ratio = times['ms'] / result[key][first]['ms']
            memory = f'{times["mb"]:.0f}' if 'mb' in times else ''
            lines.append([f'{title}: {name}', quartiles(times), f'{100 * (ratio - 1):+.1f}%', memory])
    return table_of(['what', 'ms', 'against the first', 'peak MB'], lines)


def sealing_table(result: dict[str, Any]) -> str:
    """Return a table with the cost of sealed checkpoints."""
    lines = []
    for what, rows in result['sealing'].items():
        plain = next(iter(rows.values()))['ms']
        lines += [[f'{what}: {name}', quartiles(row), f'{row["ms"] / plain:.2f}'] for name, row in rows.items()]
    return table_of(['checkpoint of 200 MB', 'ms', 'against plain torch'], lines)


def quartiles(times: dict[str, float]) -> str:
    """Return the median and, in brackets, the quartiles."""
    return f'{times["ms"]:.3g} ({times["low"]:.3g} to {times["high"]:.3g})'


def publish(tables: Mapping[str, str], page: Path | None) -> None:
    """Print tables, and write them into a Markdown page between their marks, if there is one."""
    for name, table in tables.items():
        print(f'\n{name}\n{table}')
        if page is not None:
            replace_file(page, write_table(page.read_text(), name, table))
