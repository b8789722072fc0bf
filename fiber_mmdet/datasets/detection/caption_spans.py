"""Whether annotated spans mark characters of their caption."""

from collections.abc import Sequence


def spans_fit(caption: str, spans: Sequence[Sequence[int]]) -> bool:
    """Say whether each span marks at least one character, and none beyond the caption.

    Args:
        caption: the text.
        spans: half-open [begin, end) of characters, as an annotation has them.
    """
    return all(0 <= begin < end <= len(caption) for begin, end in spans)
