"""Names of categories: how many boxes they have, and which are hardly two."""

from collections.abc import Iterable, Mapping

from fiber_mmdet.text.spellings import spellings


def names_alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ only by case, blanks, or hyphens and underscores for blanks."""
    return [alike for alike in spellings(names).values() if len(alike) > 1]


def lines_per_name(boxes_of: Mapping[str, int], most: int = 12) -> str:
    """Boxes per name in one line; of many names, the most and the least frequent."""
    ordered = sorted(boxes_of.items(), key=lambda item: -item[1])
    said = [f'{name} {number}' for name, number in ordered]
    if len(said) > most:
        said = [*said[: most // 2], f'… {len(said) - most} more …', *said[-(most - most // 2) :]]
    return 'boxes per name: ' + ', '.join(said)
