"""Markdown tables of results, made from the cells that were run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import mean, stdev

from prettytable import PrettyTable, TableStyle

from benchmarks.paper.cells import Cell
from benchmarks.paper.feature_cells import IMAGES
from mmseg_keyprotect.errors import ConfigError


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        label: Text of the first column.
        cells: Experiments that the row sums up, for example one for each seed.
    """

    label: str
    cells: Sequence[Cell]


Table = Callable[[list[Row]], str]


def training_table(rows: list[Row]) -> str:
    """Return a table of trained models; the price is the mIoU lost against the first row, seed by seed."""
    fields = ['mIoU, correct key', 'price', 'no key', 'wrong keys: mean', 'best', 'worst leak', 'seeds']
    first = {result['seed']: result['mIoU'] for result in _results(rows[0])}

    def line(row: Row, results: list[dict]) -> list[str]:
        scores = [result['mIoU'] for result in results]
        prices = [first[result['seed']] - result['mIoU'] for result in results if result['seed'] in first]
        price = f'{mean(prices):.2f}' if prices and row is not rows[0] else ''
        seeds = f'{len(results)}' if len(results) == len(row.cells) else f'{len(results)} of {len(row.cells)}'
        return [spread(scores), price, *(_access(results) if 'leak' in results[0] else [''] * 4), seeds]

    return make_table('trained with', fields, rows, line)


def binding_table(rows: list[Row]) -> str:
    """Return a table of models that were bound to a key after training."""
    fields = ['plain', 'exact border', 'grey border', 'no key', 'wrong keys: mean', 'best', 'floor', 'leak']

    def line(row: Row, results: list[dict]) -> list[str]:
        (result,) = results
        borders = [result[border] for border in ('exact', 'grey')]
        protected = [f'{one["protected"]:.2f} ({one["protected"] - one["plain"]:+.2f})' for one in borders]
        *access, leak = _access(results)
        return [f'{borders[0]["plain"]:.2f}', *protected, *access, f'{result["floor"]:.2f}', leak]

    return make_table('model', fields, rows, line)


def denial_table(rows: list[Row]) -> str:
    """Return a table of bound models before and after a fine-tuning with denial.

    The first columns are means over the seeds on the images that chose the best state; the last ones are those of the
    final evaluation, with other images and other wrong keys.
    """
    fields = ['correct key', 'no key', 'best wrong key', 'leak', 'seeds']
    fields += [f'val: {name}' for name in ('unprotected', 'correct key', 'no key', 'best of 30', 'leak', 'seeds')]

    def leak(one: dict) -> float:
        return (max(one['no_key'], one['wrong_key']) - one['floor']) / (one['mIoU'] - one['floor'])

    def line(row: Row, results: list[dict]) -> list[str]:
        tuned = [result for result in results if 'best' in result]
        final = [result for result in results if 'leak' in result]

        def change(value: Callable[[dict], float], digits: int = 1) -> str:
            return ' to '.join(f'{mean(value(one[word]) for one in tuned):.{digits}f}' for word in ('start', 'best'))

        names = ('mIoU', 'no_key', 'wrong_key')
        cells = [*(change(itemgetter(name)) for name in names), change(leak, 2), f'{len(tuned)}']
        if not final:
            return [*cells, *[''] * 5, '0']
        plain = [one['plain'] for one in tuned if one['seed'] in {result['seed'] for result in final}]
        best = max(max(one['wrong_keys']) for one in final)
        worst = max(one['leak'] for one in final)
        scores = [spread(plain), spread([one['mIoU'] for one in final])]
        return [
            *cells,
            *scores,
            f'{max(one["no_key"] for one in final):.1f}',
            f'{best:.1f}',
            f'{worst:.2f}',
            f'{len(final)}',
        ]

    return make_table('model: what is bound', fields, rows, line)


def watermark_table(rows: list[Row]) -> str:
    """Return a table of models with and without a watermark, and of the claims on them.

    The agreement is the mIoU between the masks of plain and of encrypted images.
    """
    fields = ['mIoU', "agreement, owner's key", 'best of 99 random keys', 'mean', 'rank', "pirate's key", 'seeds']

    def line(row: Row, results: list[dict]) -> list[str]:
        owner = [result['owner'] for result in results]
        pirate = [result['pirate']['own'] for result in results if 'pirate' in result]
        figures = (spread([one[word] for one in owner], 1) for word in ('own', 'best', 'mean'))
        ranks = ', '.join(str(one['rank']) for one in owner)
        scores = spread([result['mIoU'] for result in results])
        return [scores, *figures, ranks, spread(pirate, 1) if pirate else '', f'{len(results)}']

    return make_table('SegFormer-B0, CamVid', fields, rows, line)


def worst_keys_table(rows: list[Row]) -> str:
    """Return a table of the worst wrong keys of models, and of what attacks on the same images reach."""
    attacks = ('query-masks', 'hill-climbing-labels', 'hill-climbing-entropy', 'un-key', 'fine-tuning')
    fields = ['correct key', 'floor', 'wrong keys: mean', 'best of 200']
    fields += ['50% right: mean (best)', '75% right', '90% right', *attacks]

    def line(row: Row, results: list[dict]) -> list[str]:
        cells = dict.fromkeys(fields, '')
        for result in results:
            for name, found in result.get('attacks', {}).items():
                asked = f' ({found["queries"]} queries)' if found['queries'] else ''
                cells[name] = f'{found["mIoU"]:.1f}{asked}'
            if 'known' in result:
                wrong = result['wrong_keys']
                scores = (result['correct'], result['floor'], mean(wrong), max(wrong))
                cells.update(zip(fields, (f'{score:.1f}' for score in scores), strict=False))
                spreads = (f'{mean(one):.1f} ({max(one):.1f})' for one in result['known'].values())
                cells.update(zip(fields[4:], spreads, strict=False))
        return list(cells.values())

    return make_table('model', fields, rows, line)


def feature_table(rows: list[Row]) -> str:
    """Return a table of models with encrypted feature maps, with the mIoU that an attacker reaches."""
    fields = ['mIoU, correct key', 'no key', 'wrong keys: mean', 'best', 'worst leak']
    fields += [f'attacker, {images} images' for images in IMAGES] + ['seeds']

    def line(row: Row, results: list[dict]) -> list[str]:
        models = [result for result in results if 'leak' in result]
        attacker = {images: [one['mIoU'] for one in results if one.get('images') == images] for images in IMAGES}
        access = [spread([one['mIoU'] for one in models]), *_access(models)] if models else [''] * 5
        seeds = len({result['seed'] for result in results})
        return [*access, *(spread(scores) if scores else '' for scores in attacker.values()), f'{seeds}']

    return make_table('key', fields, rows, line)


def make_table(head: str, fields: list[str], rows: list[Row], line: Callable[[Row, list[dict]], list[str]]) -> str:
    """Return a table in Markdown, with one line for each row.

    Args:
        head: Title of the first column.
        fields: Titles of the others.
        rows: The rows.
        line: Returns the values of a row from the results of its cells that were run.
    """
    table = PrettyTable([head, *fields], align='r')
    table.align[head] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    for row in rows:
        results = _results(row)
        table.add_row([row.label, *(line(row, results) if results else ['missing'] * len(fields))])
    return table.get_string()


def write_table(page: str, name: str, table: str) -> str:
    """Return a page with a new table between the marks ``<!-- table NAME -->`` and ``<!-- end -->``.

    Args:
        page: Text of the page.
        name: Name of the table.
        table: The table in Markdown.

    Raises:
        ConfigError: The page lacks the marks.
    """
    begin, end = f'<!-- table {name} -->\n', '<!-- end -->'
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ConfigError(f'Expected a page with {begin.strip()} and {end}, but it lacks them. Add them to the page.')
    return f'{before}{begin}{table}\n{end}{after}'


def _results(row: Row) -> list[dict]:
    return [result for result in (cell.read() for cell in row.cells) if result is not None]


def _access(results: list[dict]) -> list[str]:
    """Return the mIoU with no key, the mean and the best mIoU of all wrong keys, and the worst leak."""
    wrong = [score for result in results for score in result['wrong_keys']]
    leaks = [
        result['leak'] for result in results if result['leak'] is not None
    ]  # None: the model is no better than the floor
    no_key = spread([result['no_key'] for result in results])
    return [no_key, f'{mean(wrong):.2f}', f'{max(wrong):.2f}', f'{max(leaks):.2f}' if leaks else '-']


def spread(scores: list[float], digits: int = 2) -> str:
    """Return the mean, with the standard deviation if there are several scores."""
    return f'{mean(scores):.{digits}f}' + (f' ± {stdev(scores):.{digits}f}' if len(scores) > 1 else '')
