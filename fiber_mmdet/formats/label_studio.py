"""Rectangles of Label Studio: its JSON export, and predictions that it shows to annotators.

Label Studio counts in percent of the image's width and height. A task has the address of an image
in ``data``, and lists of rectangles in ``annotations`` (made by people) and ``predictions``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from .labelled import LabelledBox

FROM_NAME, TO_NAME = 'label', 'image'  # of the usual labelling configuration


def rectangle(
    box: LabelledBox,
    size: tuple[int, int],
    number: int | str | None = None,
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> dict[str, Any]:
    """One rectangle as Label Studio writes and reads it: an item of a ``result``.

    Args:
        box: in pixels.
        size: width and height of the image in pixels.
        number: what tells it apart from others of the image; None leaves that to Label Studio.
        from_name: of the ``RectangleLabels`` tag in the labelling configuration.
        to_name: of its ``Image`` tag.

    Returns:
        Plain values, ready for JSON; with ``score`` if the box has one.
    """
    width, height = size
    x1, y1, x2, y2 = map(float, box.corners)
    found: dict[str, Any] = {
        'from_name': from_name,
        'to_name': to_name,
        'type': 'rectanglelabels',
        'original_width': int(width),
        'original_height': int(height),
        'image_rotation': 0,
        'value': {
            'x': 100 * x1 / width,
            'y': 100 * y1 / height,
            'width': 100 * (x2 - x1) / width,
            'height': 100 * (y2 - y1) / height,
            'rotation': 0,
            'rectanglelabels': [box.name],
        },
    }
    if number is not None:
        found['id'] = str(number)
    if box.score is not None:
        found['score'] = float(box.score)
    return found


def rectangles(
    boxes: Iterable[LabelledBox],
    size: tuple[int, int],
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> list[dict[str, Any]]:
    """The ``result`` of an annotation or a prediction; see :func:`rectangle`."""
    return [rectangle(box, size, i, from_name, to_name) for i, box in enumerate(boxes, 1)]


def prediction(
    boxes: Sequence[LabelledBox],
    size: tuple[int, int],
    model_version: str,
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> dict[str, Any]:
    """A prediction for one image: an item of a task's ``predictions``, or an answer of a backend.

    Args:
        boxes: in pixels, with scores.
        size: width and height of the image in pixels.
        model_version: what Label Studio calls the model.
        from_name: see :func:`rectangle`.
        to_name: see :func:`rectangle`.

    Returns:
        Plain values, ready for JSON. Its score is the mean of those of the boxes, which Label
        Studio sorts tasks by; 0 without boxes.
    """
    scores = [float(box.score) for box in boxes if box.score is not None]
    return {
        'model_version': model_version,
        'score': sum(scores) / len(scores) if scores else 0.0,
        'result': rectangles(boxes, size, from_name, to_name),
    }
