"""The table and the figure of docs/security/audit.md on what an onlooker sees of encrypted images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from prettytable import PrettyTable, TableStyle

from benchmarks.paper.cells import CIPHER_WORDS
from benchmarks.paper.onlooker_cells import Onlooker
from benchmarks.paper.tables import Row

SIZES = 4, 8, 16
OF = {name: name for name in ('encrypted', 'block means', 'wrong image')}
OF |= {name: f'`{name}`' for name in ('reconstruction', 'pictures-alone')}
"""The column of each kind of picture, by its name in a result."""


def onlookers(config: str) -> list[Row]:
    """Return rows for every cipher and block size; ``config`` is one whose images they encrypt."""
    return [
        Row(f'{words}, M = {size}', [Onlooker(config, cipher=tuple(words.split(' + ')), block_size=size)])
        for words in CIPHER_WORDS.values()
        for size in SIZES
    ]


def onlooker_table(rows: list[Row]) -> str:
    """Return a table of SSIM and PSNR beside the plain images, and of what ``pictures-alone`` found of the key."""
    table = PrettyTable(['cipher', *OF.values(), 'encrypted images: key found'], align='r')
    table.align['cipher'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    for row in rows:
        result = row.cells[0].read()
        if result is None:
            table.add_row([row.label, *['missing'] * (len(OF) + 1)])
            continue
        found = {one['of']: f'{one["ssim"]:.2f}, {one["psnr"]:.1f} dB' for one in result['pictures']}
        key = ', '.join(f'{share["part"]} {100 * share["right"]:.0f}%' for share in result['shares'])
        table.add_row([row.label, *(found[of] for of in OF), f'{result["encrypted"]}: {key}'])
    return table.get_string()


def draw_onlooker(rows: list[Row], path: Path) -> None:
    """Write the pictures of the last cipher with the smallest and the largest blocks, one below the other."""
    chosen = [row.cells[0] for row in (rows[-len(SIZES)], rows[-1])]
    files = [cell.picture for cell in chosen if isinstance(cell, Onlooker)]
    if all(file.exists() for file in files):  # only on the machine that ran the cells
        Image.fromarray(np.concatenate([np.asarray(Image.open(file)) for file in files])).save(path, quality=85)
