"""Drawings of attention: an image for each phrase, bright where the phrase looks."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .palette import WHITE
from .sheets import Card, Row, draw_sheet, in_rows
from .writing import PLAIN, QUIET, STRONG, Line

SIDE = 260
COLUMNS = 5
DARKEST = 0.22  # brightness of a cell without weight
HEADINGS = dict(
    looks='Where words look: weights over the cells, which sum to 1',
    reads='What cells read: share of their attention that goes to the words',
)


def draw_attention(
    image: np.ndarray,
    text: str,
    phrases: Sequence[str],
    looks: np.ndarray,
    reads: np.ndarray,
    source: str,
    direction: str = 'looks',
) -> np.ndarray:
    """Draw the image, and beside it one panel per phrase.

    A cell of a panel is as bright as its weight, relative to the panel's highest, which is
    written below. Cells have the size that they have in the model.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was looked at.
        text: the text.
        phrases: n phrases of it.
        looks: (n, h, w) float, where each phrase looks.
        reads: (n, h, w) float, what each cell reads of each phrase.
        source: which layers and heads the weights are from.
        direction: 'looks' for where words look, 'reads' for what cells read, 'both' for both.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: an unknown direction.
    """
    if direction not in (*HEADINGS, 'both'):
        raise ValueError(f"direction={direction!r} must be 'looks', 'reads' or 'both'")
    rows: list[Row] = []
    for name, maps in dict(looks=looks, reads=reads).items():
        if direction in (name, 'both'):
            panels = attention_panels(image, phrases, maps, name)
            heading: list[Line] = [[(HEADINGS[name], PLAIN)]]
            if not rows:
                heading.insert(0, [(f'“{text}”', STRONG), (f'   {source}', QUIET)])
            rows += in_rows([Card([image]), *panels], COLUMNS, heading)
    return draw_sheet(rows, SIDE)


def attention_panels(
    image: np.ndarray, phrases: Sequence[str], maps: np.ndarray, direction: str = 'looks'
) -> list[Card]:
    """A panel per phrase: the image, bright where its weights are, and the highest of them below.

    Args:
        image: (H, W, 3) uint8 RGB.
        phrases: n phrases.
        maps: (n, h, w) float, weights of each over the cells.
        direction: 'looks' for where words look, 'reads' for what cells read.
    """
    return [
        Card([shade_cells(image, cells)], _below(phrase, cells, direction))
        for phrase, cells in zip(phrases, maps)
    ]


def shade_cells(image: np.ndarray, cells: np.ndarray, side: int = 2 * SIDE) -> np.ndarray:
    """Darken an image cell by cell.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: (h, w) weights, none negative; the cell of the highest stays as it is.
        side: width of the drawing in pixels.

    Returns:
        (H', side, 3) uint8 RGB with lines between cells.
    """
    height = max(1, round(image.shape[0] * side / image.shape[1]))
    resized = np.asarray(Image.fromarray(image).resize((side, height), Image.Resampling.BICUBIC))
    light = cells / max(float(cells.max()), 1e-12)
    rows, columns = (
        np.arange(length) * count // length for length, count in zip((height, side), cells.shape)
    )
    shade = DARKEST + (1 - DARKEST) * light[rows[:, None], columns[None]]
    shaded = Image.fromarray((resized * shade[..., None]).astype(np.uint8)).convert('RGBA')
    lines = Image.new('RGBA', shaded.size)
    draw = ImageDraw.Draw(lines)
    for i in range(1, cells.shape[1]):
        x = round(i * side / cells.shape[1])
        draw.line((x, 0, x, height), fill=(*WHITE, 70))
    for i in range(1, cells.shape[0]):
        y = round(i * height / cells.shape[0])
        draw.line((0, y, side, y), fill=(*WHITE, 70))
    return np.asarray(Image.alpha_composite(shaded, lines).convert('RGB'))


def _below(phrase: str, cells: np.ndarray, name: str) -> list[Line]:
    """The lines below a panel."""
    peak = f'highest {100 * float(cells.max()):.1f} %'
    if name == 'looks':
        peak += f' (evenly: {100 / cells.size:.1f} %)'
    return [[(phrase, STRONG)], [(peak, PLAIN)]]
