"""Drawing of scenes: anti-aliased shapes on textured backgrounds."""

import numpy as np
from PIL import Image, ImageDraw

from .scene import Background, Scene, SceneObject
from .world import SHAPES

_SUPERSAMPLE = 4
_GRAIN = 2.0
_SHADING = 0.1

# In pixels of a 256x256 canvas. It lies inside the outline, which alone determines the box.
_STROKE = 1.3
_STROKE_DARKNESS = 0.42


def draw(scene: Scene) -> np.ndarray:
    """Image of a scene, ``(image_size, image_size, 3)`` uint8 RGB; the same for equal scenes."""
    canvas = _draw_background(scene)
    for item in scene.objects:
        _draw_object(canvas, item, _STROKE * scene.scale)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _draw_background(scene: Scene) -> np.ndarray:
    """The ``(H, W, 3)`` float32 background, 0 to 255."""
    rng = scene.generator('background')
    # Of a zoomed scene, the middle of the whole that it is a cut-out of.
    whole = round(scene.image_size * scene.zoom)
    begin = (whole - scene.image_size) // 2
    seen = slice(begin, begin + scene.image_size)
    pattern = _pattern(scene.background, whole, rng)[seen, seen, None]
    first, second = (np.array(color, dtype=np.float32) for color in scene.background.colors)
    grain = rng.normal(0, _GRAIN, size=pattern.shape)
    return (first + pattern * (second - first) + grain).astype(np.float32)


def _pattern(background: Background, side: int, rng: np.random.Generator) -> np.ndarray:
    """The ``(side, side)`` weight of the second colour, 0 to 1."""
    y, x = np.mgrid[:side, :side] + 0.5
    cos, sin = np.cos(background.angle), np.sin(background.angle)
    along, across = x * cos + y * sin, y * cos - x * sin
    turns = 2 * np.pi / background.period
    if background.kind == 'plain':
        return (along - along.min()) / np.ptp(along)
    if background.kind == 'cloudy':
        return _smooth_noise(side, rng)
    if background.kind == 'striped':
        wave = np.sin(turns * along)
    elif background.kind == 'checkered':
        wave = np.sin(turns * along) * np.sin(turns * across)
    elif background.kind == 'wavy':
        bend = 0.3 * background.period * np.sin(0.35 * turns * across)
        return 0.5 + 0.5 * np.sin(turns * (along + bend))
    else:
        raise ValueError(f'unknown background kind {background.kind!r}')
    # Steep but not abrupt, to anti-alias the edges of the pattern.
    return np.clip(0.5 + 0.5 * wave * background.period / 4, 0, 1)


def _smooth_noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """``(side, side)`` noise of three octaves, scaled to 0 to 1."""
    total = np.zeros((side, side))
    for cells, weight in ((4, 1.0), (8, 0.5), (16, 0.25)):
        grid = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        total += weight * np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))
    return (total - total.min()) / np.ptp(total)


def _draw_object(canvas: np.ndarray, item: SceneObject, stroke_width: float) -> None:
    """Paint one object onto the ``(H, W, 3)`` float canvas, in place."""
    left, top = (int(np.floor(v)) for v in item.box[:2])
    right, bottom = (int(np.ceil(v)) for v in item.box[2:])
    covered, stroke = _coverage(item, (left, top, right, bottom), stroke_width)
    # A little light from above, so that large areas are not one flat colour.
    light = 1 + _SHADING * np.linspace(0.5, -0.5, bottom - top)[:, None, None]
    fill = np.minimum(np.array(item.rgb) * light, 255)
    patch = canvas[top:bottom, left:right]
    patch[:] = patch * (1 - covered) + fill * (covered - stroke) + fill * _STROKE_DARKNESS * stroke


def _coverage(
    item: SceneObject, window: tuple[int, int, int, int], width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each pixel that an object covers.

    Args:
        item: the object.
        window: left, top, right, bottom of the region, in pixels.
        width: width of the stroke in pixels.

    Returns:
        Two ``(h, w, 1)`` arrays, 0 to 1: the share of each pixel inside the
        object, and the share under its stroke, never more than the first.
    """
    left, top, right, bottom = window
    size = (right - left) * _SUPERSAMPLE, (bottom - top) * _SUPERSAMPLE
    inside, edge = (Image.new('L', size) for _ in range(2))
    outer = item.outline()
    rims = [outer]
    if SHAPES[item.shape].hole:
        rims.append(item.center + (outer - item.center) * SHAPES[item.shape].hole)
    for rim, value in zip(rims, (255, 0)):
        # Pillow counts from pixel centres, outlines from pixel corners.
        points = [tuple(p) for p in (rim - (left, top)) * _SUPERSAMPLE - 0.5]
        ImageDraw.Draw(inside).polygon(points, fill=value)
        ImageDraw.Draw(edge).line(
            points + points[:2], fill=255, width=round(2 * width * _SUPERSAMPLE), joint='curve'
        )
    covered, stroke = (
        np.asarray(layer.reduce(_SUPERSAMPLE), dtype=np.float32)[..., None] / 255
        for layer in (inside, Image.fromarray(np.minimum(np.asarray(inside), np.asarray(edge))))
    )
    return covered, stroke
