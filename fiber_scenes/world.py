"""The vocabulary of the generated world: what every word means.

A shape word stands for an outline, a colour word for an RGB value, a size word for a range
of diameters, and a split for the colour-shape combinations that may
appear in it. Everything else in this package is built from these tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ('train', 'val', 'test')

DEFAULT_IMAGE_SIZE = 256

BACKGROUNDS = ('plain', 'cloudy', 'striped', 'checkered', 'wavy')

COLORS: dict[str, tuple[int, int, int]] = {
    'red': (222, 36, 42),
    'green': (40, 168, 58),
    'blue': (32, 84, 232),
    'yellow': (250, 222, 44),
    'purple': (146, 48, 190),
    'orange': (250, 132, 22),
    'cyan': (50, 216, 228),
    'white': (244, 244, 244),
}

# Size word -> range of diameters (the longer side of the box), in pixels of a 256x256 canvas.
SIZES: dict[str, tuple[float, float]] = {
    'small': (26.0, 42.0),
    'large': (64.0, 96.0),
}

_OUTLINE_POINTS = 120


@dataclass(frozen=True, eq=False)
class Shape:
    """What a shape word means.

    Attributes:
        points: outline as an ``(N, 2)`` array of x, y with y pointing down,
            dense enough that no edge is longer than a few hundredths of the
            shape. Scale and position are arbitrary.
        tilt: largest rotation, in degrees, at which the word is still unambiguous.
        hole: size of the hole as a fraction of the outline, 0 for none.
    """

    points: np.ndarray
    tilt: float
    hole: float = 0.0


def _polygon(corners: Sequence[tuple[float, float]] | np.ndarray) -> np.ndarray:
    """The closed polygon through ``corners`` as a dense ``(N, 2)`` outline."""
    start = np.asarray(corners, dtype=np.float64)
    steps = max(1, _OUTLINE_POINTS // len(start))
    along = np.arange(steps)[None, :, None] / steps
    edge = np.roll(start, -1, axis=0) - start
    return (start[:, None] + along * edge[:, None]).reshape(-1, 2)


def _round() -> np.ndarray:
    """A circle as an ``(N, 2)`` outline."""
    angle = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _star(tips: int, inner: float) -> np.ndarray:
    """A star with ``tips`` tips at radius 1 and notches at radius ``inner``."""
    angle = np.arange(2 * tips) * np.pi / tips - np.pi / 2
    radius = np.where(np.arange(2 * tips) % 2 == 0, 1.0, inner)
    return _polygon(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))


def _cross(arm: float) -> np.ndarray:
    """An upright plus sign of size 2 whose arms are ``2 * arm`` wide."""
    return _polygon(
        [
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
        ]
    )


def _heart() -> np.ndarray:
    """The usual parametric heart, point down."""
    t = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1)


SHAPES: dict[str, Shape] = {
    'circle': Shape(_round(), tilt=0),
    'square': Shape(_polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)]), tilt=10),
    'triangle': Shape(_polygon([(0, -1), (1, 0.8), (-1, 0.8)]), tilt=18),
    'star': Shape(_star(tips=5, inner=0.42), tilt=18),
    'cross': Shape(_cross(arm=0.3), tilt=15),
    # Narrow, so that a tilted square is never taken for it.
    'diamond': Shape(_polygon([(0, -1), (0.6, 0), (0, 1), (-0.6, 0)]), tilt=10),
    'ring': Shape(_round(), tilt=0, hole=0.5),
    'heart': Shape(_heart(), tilt=15),
}

# Split -> its ``(color, shape)`` pairs that no other split shows. They are two diagonals of
# the colour-by-shape table: every colour and every shape loses at most two of its eight
# combinations and still occurs in training.
_NAMES = list(SHAPES)
HELD_OUT: dict[str, frozenset[tuple[str, str]]] = {
    'train': frozenset(),
    'val': frozenset((color, _NAMES[(i + 2) % 8]) for i, color in enumerate(COLORS) if i < 6),
    'test': frozenset((color, _NAMES[(i + 5) % 8]) for i, color in enumerate(COLORS) if i > 1),
}


def is_held_out(color: str, shape: str) -> bool:
    """Whether a colour-shape combination never appears in the training split."""
    return any((color, shape) in pairs for pairs in HELD_OUT.values())


def combinations(split: str) -> list[tuple[str, str]]:
    """The ``(color, shape)`` pairs that may appear in a split, in a fixed order.

    These are all that are not held out, and those held out for this split.

    Args:
        split: one of ``SPLITS``.

    Raises:
        ValueError: ``split`` is not known.
    """
    if split not in SPLITS:
        raise ValueError(f'unknown split {split!r}, expected one of {", ".join(SPLITS)}')
    return [
        (color, shape)
        for color in COLORS
        for shape in SHAPES
        if not is_held_out(color, shape) or (color, shape) in HELD_OUT[split]
    ]


def unit_outline(shape: str, rotation: float) -> np.ndarray:
    """Outline of a shape at unit size, ``(N, 2)`` float64 x, y (y down).

    Its tight box is centred on the origin, and the longer side is 1.

    Args:
        shape: a key of ``SHAPES``.
        rotation: angle in degrees, clockwise on the screen.
    """
    angle = np.deg2rad(rotation)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = SHAPES[shape].points @ turn
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / (high - low).max()
