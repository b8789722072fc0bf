"""Pictures of samples of image-level tasks: their views side by side, their text, what is true."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .drawing import MIN_WIDTH, enlarge
from .palette import WHITE
from .sample_picture import stack_strips, words_cut, write_text
from .token_strip import draw_token_strip

if TYPE_CHECKING:
    from fiber_mmdet.inspection.view_browsing import SeenPair

MIN_SIDE = 480  # of each view
GAP = 12


def draw_pair(pair: 'SeenPair') -> np.ndarray:
    """Draw a sample: title, views side by side, the text cut into tokens, what is known of it.

    Args:
        pair: what to draw.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    views = [enlarge(Image.fromarray(view.image), MIN_SIDE)[0] for view in pair.views]
    picture = side_by_side(views)
    width = max(picture.width, MIN_WIDTH)
    size = max(15, round(0.026 * (views[0].width * views[0].height) ** 0.5))
    short = ['/'.join(Path(view.photo).parts[-2:]) for view in pair.views]
    body = [
        write_text(pair_title(pair, short), width, size),
        picture,
        draw_token_strip(pair.text.caption, pair.text.pieces, {}, {}, width, size),
    ]
    if pair.text.length > pair.text.limit:
        body.append(write_text(words_cut(pair.text), width, size))
    body += [write_text(fact, width, size) for fact in pair.facts]
    return np.asarray(stack_strips(body, width)).copy()


def pair_title(pair: 'SeenPair', photos: Sequence[str] | None = None) -> str:
    """One line about a sample: each view (photo, under another name if given, sizes), tokens."""
    parts = []
    for view, photo in zip(pair.views, photos or [view.photo for view in pair.views]):
        height, width = view.image.shape[:2]
        name = f'{view.name} ' * (len(pair.views) > 1)
        parts.append(
            f'{name}{photo}  {view.original_size[0]}×{view.original_size[1]} → '
            f'{width}×{height}{", mirrored" * view.flipped}'
        )
    return f'{pair.index}  {"  |  ".join(parts)}  {pair.text.length} of {pair.text.limit} tokens'


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row, with a gap."""
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new('RGB', (width, max(picture.height for picture in pictures)), WHITE)
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet
