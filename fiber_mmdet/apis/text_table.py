"""Tables of words and figures, as wide as the terminal."""

import shutil
import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from fiber_mmdet.visualization.writing import printable

LEAST = 8  # columns of the terminal that words get in any case


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: str) -> str:
    """Lines of right-aligned figures and one column of words.

    Args:
        titles: of the columns.
        rows: cells of each line. Control characters become blanks.
        words: title of the column that is aligned to the left, and shortened where a line would
            be wider than the terminal; not if nobody looks (a file, a pipe).

    Returns:
        The lines, the titles first. Characters that take two columns are counted as such.
    """
    column = titles.index(words)
    cells = [[printable(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(map(cell_len, cells_of)) for cells_of in zip(*cells)]
    if sys.stdout.isatty():
        others = sum(widths) - widths[column] + 2 * (len(widths) - 1)
        room = shutil.get_terminal_size().columns - others
        widths[column] = min(widths[column], max(room, LEAST))
    lines = []
    for row in cells:
        fitted = [' ' * (width - cell_len(cell)) + cell for cell, width in zip(row, widths)]
        fitted[column] = _fit(row[column], widths[column])
        lines.append('  '.join(fitted).rstrip())
    return '\n'.join(lines)


def _fit(text: str, width: int) -> str:
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + '…'
    return set_cell_size(text, width)
