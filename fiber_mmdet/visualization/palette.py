"""Colours and fonts of drawings: one colour per phrase, distinct for colour-blind readers."""

import logging
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

RGB = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_FILE = 'FIBER_FONT'
NO_CHARACTER = '\uffff'  # which no font has

logger = logging.getLogger(__name__)
_told: set[str] = set()

# Okabe and Ito's seven colours, then five of Paul Tol's, ordered so that neighbours differ well;
# beside each the words that name it.
PALETTE: tuple[tuple[RGB, str], ...] = (
    ((0, 114, 178), 'blue'),
    ((230, 159, 0), 'orange golden gold'),
    ((0, 158, 115), 'green'),
    ((213, 94, 0), 'red'),
    ((204, 121, 167), 'pink violet'),
    ((240, 228, 66), 'yellow'),
    ((86, 180, 233), 'cyan'),
    ((86, 60, 160), 'purple'),
    ((136, 34, 85), 'maroon'),
    ((68, 170, 153), 'teal turquoise'),
    ((153, 153, 51), 'olive'),
    ((140, 86, 75), 'brown'),
)
WHITE: RGB = (255, 255, 255)
BLACK: RGB = (17, 17, 17)
GREY: RGB = (105, 105, 105)


def phrase_colors(phrases: Sequence[str], labels: Sequence[int]) -> dict[int, RGB]:
    """Choose the colour of every label that is to be drawn.

    Labels of equal phrases share a colour. A phrase that names a colour gets that colour if it is
    free, so that "a red circle" is not written in blue. In a short prompt every phrase is given a
    colour, so that it keeps it from drawing to drawing; in a long one only those of ``labels``.

    Args:
        phrases: the prompt's phrases; a label is an index into them.
        labels: the labels to be drawn.

    Returns:
        Label -> RGB, 0 to 255. Colours repeat only beyond twelve different phrases.
    """
    everything = list(dict.fromkeys(phrases))
    drawn = [phrases[label] for label in sorted(set(labels))]
    wanted = everything if len(everything) <= len(PALETTE) else list(dict.fromkeys(drawn))
    chosen: dict[str, RGB] = {}
    free = [color for color, _ in PALETTE]
    for phrase in wanted:
        color = _named_color(phrase)
        if color in free:
            free.remove(color)
            chosen[phrase] = color
    for phrase in wanted:
        if phrase not in chosen:
            free = free or [color for color, _ in PALETTE]
            chosen[phrase] = free.pop(0)
    return {label: chosen[phrases[label]] for label in labels}


def _named_color(phrase: str) -> RGB | None:
    words = re.findall(r'\w+', phrase.lower())
    return next((color for color, names in PALETTE if set(names.split()) & set(words)), None)


def ink_on(color: RGB) -> RGB:
    """Black or white, whichever reads better on ``color`` (WCAG contrast)."""
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # the contrasts (L + 0.05) / 0.05 and 1.05 / (L + 0.05) are equal at L = 0.179
    return BLACK if luminance > 0.179 else WHITE


@cache
def load_font(size: int, bold: bool = False) -> Font:
    """The font of drawings: DejaVu Sans, which matplotlib brings along.

    The environment variable ``FIBER_FONT`` names the file of another one, for scripts that DejaVu
    lacks, such as Chinese. Where DejaVu was removed, it is Pillow's own font.

    Args:
        size: height of the em square in pixels.
        bold: the bold face; ``FIBER_FONT`` has one face.

    Raises:
        ValueError: ``FIBER_FONT`` is no font that can be read.
    """
    chosen = os.environ.get(FONT_FILE)
    if chosen:
        try:
            return ImageFont.truetype(chosen, size)
        except OSError as error:
            raise ValueError(
                f'{FONT_FILE}={chosen!r} cannot be read as a font ({error}): name a .ttf, .otf or '
                '.ttc file'
            ) from error
    import matplotlib

    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    try:
        return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts/ttf', name)), size)
    except OSError:
        return ImageFont.load_default(size)


@cache
def lacks(character: str) -> bool:
    """Whether the font has no shape of its own for a character, and draws its empty box."""
    font = load_font(20)
    unknown, shape = font.getmask(NO_CHARACTER), font.getmask(character)
    return shape.size == unknown.size and bytes(shape) == bytes(unknown)


def warn_of_lacking(text: str) -> None:
    """Log, once, which characters of a text the font of drawings lacks."""
    if text.isascii():
        return
    lacking = {c for c in text if not c.isascii() and lacks(c)} - _told
    if lacking:
        _told.update(lacking)
        logger.warning(
            'the font of drawings has no %s: set the environment variable %s to the file of a '
            'font that has them',
            ' '.join(sorted(lacking)),
            FONT_FILE,
        )
