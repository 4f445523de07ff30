"""Tables and plot of ``python -m benchmarks.speed``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from prettytable import PrettyTable, TableStyle


def table_of(fields: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is aligned to the left."""
    table = PrettyTable(fields, align='r')
    table.align[fields[0]] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    table.add_rows(rows)
    return table.get_string()


def cipher_table(rows: list[dict[str, Any]]) -> str:
    """Return a table with one row for each cipher, block size, image size and number of threads."""
    columns = ['numpy', 'numpy alone', 'torch', 'published', 'naive', 'copy']
    fields = ['cipher, M, image, threads', *(f'{name} ms' for name in columns), 'published / numpy', 'numpy / copy']
    lines = []
    for row in rows:
        ms = {name: times['ms'] for name, times in row['times'].items()}
        name = f'{row["cipher"]}, {row["block_size"]}, {row["size"][0]}x{row["size"][1]}, {row["threads"]}'
        numbers = [quartiles(row['times'][column]) for column in columns]
        lines.append([name, *numbers, f'{ms["published"] / ms["numpy"]:.0f}', f'{ms["numpy"] / ms["copy"]:.1f}'])
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
        faster = sorted(one['published'] / one['numpy'] for one in ms)
        copies = sorted(one['numpy'] / one['copy'] for one in ms)
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


def draw(result: dict[str, Any], path: Path) -> None:
    """Write a plot of the cost by pixels, block size and worker processes."""
    figure = Figure(figsize=(12, 3.6), layout='constrained')
    by_pixels, by_block, by_workers = figure.subplots(1, 3)
    one = [row for row in result['ciphers'] if row['threads'] == 1]
    for cipher in dict.fromkeys(row['cipher'] for row in one):
        mine = [row for row in one if row['cipher'] == cipher]
        pixels = [
            (row['size'][0] * row['size'][1] / 1e6, row['times']['numpy']['ms'])
            for row in mine
            if row['block_size'] == 4
        ]
        by_pixels.plot(*zip(*sorted(pixels), strict=True), marker='o', label=cipher)
        sizes = [(row['block_size'], row['times']['numpy']['ms']) for row in mine if row['size'] == (512, 1024)]
        by_block.plot(*zip(*sizes, strict=True), marker='o', label=cipher)
    for key, label in (('plain', 'plain'), ('encrypted', 'KeyedBlockEncrypt')):
        by_workers.plot(
            [row['workers'] for row in result['workers']],
            [row[key] for row in result['workers']],
            marker='o',
            label=label,
        )
    for axes, x, y in (
        (by_pixels, 'megapixels, M = 4', 'ms an image'),
        (by_block, 'block size M, 512 x 1024', 'ms an image'),
        (by_workers, 'worker processes', 'images a second'),
    ):
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_ylim(bottom=0)
        axes.spines[['top', 'right']].set_visible(False)
    by_pixels.legend(frameon=False)
    by_workers.legend(frameon=False)
    figure.savefig(path, dpi=110)


def quartiles(times: dict[str, float]) -> str:
    """Return the median and, in brackets, the quartiles."""
    return f'{times["ms"]:.3g} ({times["low"]:.3g} to {times["high"]:.3g})'
