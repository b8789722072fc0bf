"""The configs of the checkout."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)


@cache
def load(file: str) -> Config:
    """A config in its default environment; not to be changed."""
    return Config.fromfile(CONFIGS / file)


def parts(node: Any) -> Iterator[dict]:
    """Everything within a config that has a type."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from parts(item)
