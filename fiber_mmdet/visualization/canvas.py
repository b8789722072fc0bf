"""Images resized, side by side, and one below the other."""

from collections.abc import Sequence

from PIL import Image

from .palette import WHITE

GAP = 12  # pixels between images


def enlarge(image: Image.Image, min_side: int) -> tuple[Image.Image, float]:
    """The image with a longer side of at least ``min_side`` pixels, and the factor."""
    scale = max(1.0, min_side / max(image.size))
    if scale == 1.0:
        return image, scale
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC), scale


def fit_width(image: Image.Image, width: int) -> Image.Image:
    """The image at another width, with its proportions, but at most twice as high as wide."""
    height = min(max(1, round(image.height * width / image.width)), 2 * width)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def side_by_side(images: Sequence[Image.Image], gap: int) -> Image.Image:
    """Images in a row on white, aligned at the top, ``gap`` pixels apart."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new('RGB', (width, max(image.height for image in images)), WHITE)
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + gap
    return row


def stack(images: Sequence[Image.Image], width: int, gap: int = 0) -> Image.Image:
    """Images one below the other on white, centred, ``gap`` pixels apart."""
    height = sum(image.height for image in images) + gap * (len(images) - 1)
    column = Image.new('RGB', (width, height), WHITE)
    top = 0
    for image in images:
        column.paste(image, ((width - image.width) // 2, top))
        top += image.height + gap
    return column
