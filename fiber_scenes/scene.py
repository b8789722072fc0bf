"""Sampling of scenes: their objects, where these are, and the background.

A scene is plain data and a pure function of (seed, split, index, image size) and of how easy it
shall be, so scene 17 is the same whether 20 or 20000 scenes are generated.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .world import (
    BACKGROUNDS,
    COLORS,
    DEFAULT_IMAGE_SIZE,
    SHAPES,
    SIZES,
    SPLITS,
    combinations,
    is_held_out,
    unit_outline,
)

Item = TypeVar('Item')

MAX_OBJECTS = 6
MAX_IOU = 0.1

# All distances below are in pixels of a 256x256 canvas.
_BORDER = 3.0
_GAP = 4.0

# The largest objects just fit.
MAX_ZOOM = DEFAULT_IMAGE_SIZE / (SIZES['large'][1] + 2 * _BORDER)

_MAX_NESTING = 0.3
_PLACEMENT_TRIALS = 80

# Held-out combinations are few; weighted by three they make up about a quarter
# of the objects of val and test, enough to measure accuracy on them.
HELD_OUT_WEIGHT = 3.0
_SAME_KIND = 0.2
_SHARED_ATTRIBUTE = 0.35
_COLOR_JITTER = 9

# Their order determines the data: append new purposes at the end.
_PURPOSES = (
    'layout',
    'background',
    'captions',
    'expressions',
    'sentences',
    'questions',
    'statements',
    'facts',
)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        shape: a key of ``SHAPES``.
        color: a key of ``COLORS``.
        size: a key of ``SIZES``.
        box: tight box x1, y1, x2, y2 in pixels; the pixel in column
            ``c`` covers ``c`` to ``c + 1``.
        rotation: angle in degrees, clockwise.
        rgb: the drawn colour, 0 to 255.
    """

    shape: str
    color: str
    size: str
    box: tuple[float, float, float, float]
    rotation: float
    rgb: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Category name, colour then shape, such as ``'red circle'``."""
        return f'{self.color} {self.shape}'

    @property
    def sized_name(self) -> str:
        """Category name with the size in front, such as ``'small red circle'``."""
        return f'{self.size} {self.name}'

    @property
    def novel(self) -> bool:
        """Whether the colour-shape combination never appears in training."""
        return is_held_out(self.color, self.shape)

    @property
    def center(self) -> tuple[float, float]:
        """Centre x, y of the box in pixels."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    def outline(self) -> np.ndarray:
        """Outer outline in canvas pixels, ``(N, 2)`` float64 x, y."""
        x1, y1, x2, y2 = self.box
        return unit_outline(self.shape, self.rotation) * max(x2 - x1, y2 - y1) + self.center


@dataclass(frozen=True)
class Background:
    """The background of a scene.

    Attributes:
        kind: one of ``BACKGROUNDS``.
        colors: the two muted RGB colours (0 to 255) of the pattern.
        angle: direction of the pattern in radians.
        period: length of one repetition in pixels.
    """

    kind: str
    colors: tuple[tuple[int, int, int], tuple[int, int, int]]
    angle: float
    period: float


@dataclass(frozen=True)
class Scene:
    """A complete scene.

    Attributes:
        seed: seed of the dataset.
        split: one of ``SPLITS``.
        index: place in the split, from 0.
        image_size: side of the square canvas in pixels.
        objects: 1 to ``MAX_OBJECTS`` objects that do not cover each other.
        background: the background.
        zoom: how much larger than usual everything is in it: 2 for a cut-out of a scene twice
            as large.
    """

    seed: int
    split: str
    index: int
    image_size: int
    objects: tuple[SceneObject, ...]
    background: Background
    zoom: float = 1.0

    @property
    def scale(self) -> float:
        """Length in pixels of what is one pixel of a whole scene of 256x256."""
        return _scale(self.image_size, self.zoom)

    def generator(self, purpose: str) -> np.random.Generator:
        """A new random generator of this scene for one purpose."""
        return _generator(self.seed, self.split, self.index, purpose)


def _scale(image_size: int, zoom: float) -> float:
    return image_size * zoom / DEFAULT_IMAGE_SIZE


def _generator(seed: int, split: str, index: int, purpose: str) -> np.random.Generator:
    """A new random generator of one scene and one purpose."""
    key = (SPLITS.index(split), index, _PURPOSES.index(purpose))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """A random item, each with equal probability."""
    return items[int(rng.integers(len(items)))]


def box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2, 0 to 1."""
    shared = _intersection(a, b)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _intersection(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _apart(a: SceneObject, b: SceneObject, gap: float) -> bool:
    """Whether the outlines of two objects are at least ``gap`` pixels apart.

    Boxes may overlap a little, drawn pixels never do, so each box is tight around the
    visible object.
    """
    shared = _intersection(a.box, b.box)
    if box_iou(a.box, b.box) >= MAX_IOU or shared > _MAX_NESTING * min(_area(a.box), _area(b.box)):
        return False
    if (
        shared == 0
        and max(b.box[0] - a.box[2], a.box[0] - b.box[2], b.box[1] - a.box[3], a.box[1] - b.box[3])
        >= gap
    ):
        return True
    offset = a.outline()[:, None] - b.outline()[None]
    return bool((offset**2).sum(axis=-1).min() >= gap**2)


def _sample_kind(
    rng: np.random.Generator, split: str, placed: list[SceneObject]
) -> tuple[str, str, str]:
    """Random ``(color, shape, size)``, which often repeats attributes of another object.

    Independent draws would rarely give two equal objects (no number words), or a red circle
    beside a red square (a single word would identify each object).
    """
    size = str(rng.choice(list(SIZES), p=[0.55, 0.45]))
    pairs = combinations(split)
    if placed:
        other = pick(rng, placed)
        luck = rng.random()
        if luck < _SAME_KIND:
            return other.color, other.shape, other.size if rng.random() < 0.6 else size
        if luck < _SAME_KIND + _SHARED_ATTRIBUTE:
            attribute, value = (0, other.color) if rng.random() < 0.5 else (1, other.shape)
            pairs = [pair for pair in pairs if pair[attribute] == value]
    weights = np.array([HELD_OUT_WEIGHT if is_held_out(*pair) else 1.0 for pair in pairs])
    color, shape = pairs[rng.choice(len(pairs), p=weights / weights.sum())]
    return color, shape, size


def _sample_object(
    rng: np.random.Generator, split: str, image_size: int, scale: float, placed: list[SceneObject]
) -> SceneObject | None:
    """A random object in a free place; None if no place was found."""
    color, shape, size = _sample_kind(rng, split, placed)
    low, high = SIZES[size]
    diameter = rng.uniform(low, high) * scale
    tilt = SHAPES[shape].tilt
    rotation = float(rng.uniform(-tilt, tilt))
    jitter = rng.integers(-_COLOR_JITTER, _COLOR_JITTER + 1, size=3)
    red, green, blue = np.clip(np.add(COLORS[color], jitter), 0, 255).tolist()
    half = np.ptp(unit_outline(shape, rotation), axis=0) * diameter / 2
    margin = half + _BORDER * scale
    for _ in range(_PLACEMENT_TRIALS):
        center = rng.uniform(margin, image_size - margin)
        (x1, y1), (x2, y2) = (center - half).tolist(), (center + half).tolist()
        box, rgb = (x1, y1, x2, y2), (red, green, blue)
        candidate = SceneObject(shape, color, size, box, rotation, rgb)
        if all(_apart(candidate, other, _GAP * scale) for other in placed):
            return candidate
    return None


def _sample_background(rng: np.random.Generator, scale: float) -> Background:
    """A random background of two muted, related colours."""
    hue, saturation, value = rng.random(), rng.uniform(0.08, 0.3), rng.uniform(0.28, 0.6)
    step = rng.uniform(0.09, 0.16) * (1 if value < 0.44 else -1)
    other_hue = hue + rng.uniform(-0.1, 0.1)
    return Background(
        kind=str(rng.choice(BACKGROUNDS)),
        colors=(_rgb(hue, saturation, value), _rgb(other_hue, saturation, value + step)),
        angle=float(rng.uniform(0, np.pi)),
        period=float(rng.uniform(24, 56)) * scale,
    )


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """An RGB colour, 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def sample_scene(
    split: str,
    index: int,
    seed: int = 0,
    image_size: int = DEFAULT_IMAGE_SIZE,
    max_objects: int = MAX_OBJECTS,
    zoom: float = 1.0,
) -> Scene:
    """A random scene; equal arguments give equal scenes.

    With fewer and larger objects than usual, scenes are easier: one of one object and 96 pixels
    with ``zoom=2`` looks like a cut-out of a whole scene of 192 pixels.

    Args:
        split: one of ``SPLITS``; determines which combinations may appear.
        index: place in the split, at least 0.
        seed: seed of the dataset, at least 0.
        image_size: side of the square canvas in pixels, at least 64.
        max_objects: most objects, 1 to ``MAX_OBJECTS``.
        zoom: factor of the size of objects, their distances and the pattern of the background,
            1 to ``MAX_ZOOM`` (2.5), at which the largest objects just fit.

    Raises:
        ValueError: an argument is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f'unknown split {split!r}, expected one of {", ".join(SPLITS)}')
    if index < 0 or seed < 0:
        raise ValueError(f'index and seed must not be negative, got {index} and {seed}')
    if image_size < 64:
        raise ValueError(f'image_size must be at least 64 pixels, got {image_size}')
    if max_objects not in range(1, MAX_OBJECTS + 1):
        raise ValueError(f'max_objects={max_objects} must be between 1 and {MAX_OBJECTS}')
    if not 1 <= zoom <= MAX_ZOOM:
        raise ValueError(
            f'zoom={zoom} must be between 1 and {MAX_ZOOM:.2f}: with more, large objects would '
            'not fit into the image'
        )
    scale = _scale(image_size, zoom)
    rng = _generator(seed, split, index, 'layout')
    background = _sample_background(rng, scale)
    objects: list[SceneObject] = []
    for _ in range(rng.integers(1, max_objects + 1)):
        candidate = _sample_object(rng, split, image_size, scale, objects)
        if candidate is not None:
            objects.append(candidate)
    return Scene(seed, split, index, image_size, tuple(objects), background, float(zoom))
