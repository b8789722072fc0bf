"""Spellings of one name: "Traffic Light", "traffic_light" and "traffic-light"."""

from collections.abc import Iterable


def folded(name: str) -> str:
    """A name without what spellings differ in: case, "_" and "-" for blanks, repeated blanks."""
    return ' '.join(name.replace('_', ' ').replace('-', ' ').casefold().split())


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """The different names that are one when folded.

    Returns:
        Folded name -> the names, each once, in order.
    """
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(folded(name), []).append(name)
    return found
