"""Where in an image an object is, in words such as "top left"."""

from .scene import Scene, SceneObject

COLUMNS = ('left', '', 'right')
ROWS = ('top', '', 'bottom')
MIDDLE = 'middle'

# Ranges along an axis that are beyond doubt, as fractions of the image.
_CLEAR = ((0.0, 0.3), (0.38, 0.62), (0.7, 1.0))

PLACES = (MIDDLE, *(f'{row} {col}'.strip() for row in ROWS for col in COLUMNS if row or col))


def clear_place(scene: Scene, item: SceneObject) -> str | None:
    """One of ``PLACES`` where an object is; None if that is debatable."""
    cells = []
    for position in item.center:
        inside = [
            k for k, (low, high) in enumerate(_CLEAR) if low <= position / scene.image_size <= high
        ]
        if not inside:
            return None
        cells.append(inside[0])
    return _name(*cells)


def third(scene: Scene, item: SceneObject) -> str:
    """One of ``PLACES``: in which third of the image, along both axes, the object's centre is."""
    return _name(*(min(int(3 * position / scene.image_size), 2) for position in item.center))


def _name(column: int, row: int) -> str:
    return f'{ROWS[row]} {COLUMNS[column]}'.strip() or MIDDLE


def at(place: str) -> str:
    """A place with its preposition: "at the top left", "on the left", "in the middle"."""
    preposition = {MIDDLE: 'in', 'left': 'on', 'right': 'on'}.get(place, 'at')
    return f'{preposition} the {place}'
