"""Rotated rectangles as upright boxes."""

import math


def around_turned(
    corners: tuple[float, float, float, float], pivot: tuple[float, float], angle: float
) -> tuple[float, float, float, float]:
    """The upright box around a rotated one.

    Args:
        corners: x1, y1, x2, y2 before the rotation, in pixels.
        pivot: the point that it is rotated about, in pixels.
        angle: in degrees, clockwise as seen (y points down).
    """
    x1, y1, x2, y2 = corners
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    points = [
        (
            pivot[0] + (x - pivot[0]) * cos - (y - pivot[1]) * sin,
            pivot[1] + (x - pivot[0]) * sin + (y - pivot[1]) * cos,
        )
        for x in (x1, x2)
        for y in (y1, y2)
    ]
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs), max(ys)
