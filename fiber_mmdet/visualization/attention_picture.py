"""Pictures of attention: a photo for each phrase, bright where the phrase looks."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from .contact_sheet import PLAIN, QUIET, STRONG, Card, Line, draw_sheet, in_rows
from .palette import RGB

if TYPE_CHECKING:
    from fiber_mmdet.apis.attention_maps import AttentionMaps

SIDE = 260
COLUMNS = 5
DARKEST = 0.22  # of a cell that is not looked at
GRID: RGB = (255, 255, 255)
HEADINGS = dict(
    looks='Where words look: weights over the cells, which sum to 1',
    reads='What cells read: share of their attention that goes to the words',
)


def draw_attention(
    image: np.ndarray, maps: 'AttentionMaps', direction: str = 'looks'
) -> np.ndarray:
    """Draw the photo, and beside it one panel a phrase.

    A cell of a panel is as bright as its weight, relative to the panel's highest, which is
    written below. Cells have the size that they have in the model.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was looked at.
        maps: of its phrases.
        direction: 'looks' for where words look, 'reads' for what cells read, 'both' for both.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: an unknown direction.
    """
    if direction not in (*HEADINGS, 'both'):
        raise ValueError(f"direction={direction!r} must be 'looks', 'reads' or 'both'")
    rows = []
    for name in HEADINGS if direction == 'both' else (direction,):
        panels = [
            Card([shade_cells(image, cells)], _lines(phrase.words, cells, name))
            for phrase, cells in zip(maps.phrases, getattr(maps, name))
        ]
        heading = [[(HEADINGS[name], PLAIN)]]
        rows += in_rows(
            [Card([image]), *panels], COLUMNS, heading if rows else [_title(maps), *heading]
        )
    return draw_sheet(rows, SIDE)


def shade_cells(image: np.ndarray, cells: np.ndarray, side: int = 2 * SIDE) -> np.ndarray:
    """Darken an image cell by cell.

    Args:
        image: (H, W, 3) uint8 RGB.
        cells: (h, w) weights, none negative; the highest leaves its cell as it is.
        side: width of the picture in pixels.

    Returns:
        (H', side, 3) uint8 RGB with lines between cells.
    """
    height = max(1, round(image.shape[0] * side / image.shape[1]))
    picture = np.asarray(Image.fromarray(image).resize((side, height), Image.Resampling.BICUBIC))
    light = cells / max(float(cells.max()), 1e-12)
    rows, columns = (
        np.arange(length) * count // length for length, count in zip(picture.shape[:2], cells.shape)
    )
    shade = DARKEST + (1 - DARKEST) * light[rows[:, None], columns[None]]
    drawn = Image.fromarray((picture * shade[..., None]).astype(np.uint8)).convert('RGBA')
    lines = Image.new('RGBA', drawn.size)
    draw = ImageDraw.Draw(lines)
    for i in range(1, cells.shape[1]):
        x = round(i * side / cells.shape[1])
        draw.line((x, 0, x, height), fill=(*GRID, 70))
    for i in range(1, cells.shape[0]):
        y = round(i * height / cells.shape[0])
        draw.line((0, y, side, y), fill=(*GRID, 70))
    return np.asarray(Image.alpha_composite(drawn, lines).convert('RGB'))


def _title(maps: 'AttentionMaps') -> Line:
    shown = 'mean of all fused layers' if maps.layer is None else f'fused layer {maps.layer}'
    heads = 'mean of heads' if maps.head is None else f'head {maps.head}'
    return [(f'“{maps.text}”', STRONG), (f'   {shown}, {heads}', QUIET)]


def _lines(words: str, cells: np.ndarray, name: str) -> list[Line]:
    peak = f'highest {100 * float(cells.max()):.1f} %'
    if name == 'looks':
        peak += f' (evenly: {100 / cells.size:.1f} %)'
    return [[(words, STRONG)], [(peak, PLAIN)]]
