"""Annotated boxes and spans that cannot be learned from: found, counted, logged once per file."""

from collections import Counter
from collections.abc import Sequence

from mmengine.logging import MMLogger


def box_fault(bbox: Sequence[float], width: int, height: int) -> str | None:
    """What is wrong with an annotated box.

    Args:
        bbox: (x, y, w, h) in pixels.
        width: image width in pixels.
        height: image height in pixels.

    Returns:
        'zero size' (a side under one pixel), 'outside the image' (no overlap with it), or None
        for a usable box.
    """
    x, y, w, h = bbox
    if w < 1 or h < 1:
        return 'zero size'
    if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        return 'outside the image'
    return None


def report_faults(faults: Counter, ann_file: str) -> None:
    """Log how many boxes of a file were dropped, by fault; nothing if none were."""
    if faults:
        kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(faults.items()))
        MMLogger.get_current_instance().warning(
            f'{ann_file}: dropped {sum(faults.values())} boxes ({kinds})'
        )


def spans_fit(caption: str, spans: Sequence[Sequence[int]]) -> bool:
    """Whether each span covers at least one character, all of them inside the caption.

    Args:
        caption: the text.
        spans: half-open [begin, end) of characters, as annotated.
    """
    return all(0 <= begin < end <= len(caption) for begin, end in spans)
