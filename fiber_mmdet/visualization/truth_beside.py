"""Cards with the true boxes of an image beside those that a detector found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from .canvas import fit_width
from .detections import draw_tagged_boxes
from .palette import RGB, phrase_colors
from .sheets import Card
from .writing import PLAIN, QUIET

WIDTH = 400  # pixels of a drawn image, before the sheet fits it
TAG = 17


class NamedBoxes(NamedTuple):
    """Boxes with their names.

    Attributes:
        boxes: (N, 4) float xyxy in pixels of the image.
        names: of each box.
        scores: of each box; None for the truth.
    """

    boxes: np.ndarray
    names: Sequence[str]
    scores: np.ndarray | None = None

    def best(self, number: int, threshold: float) -> 'NamedBoxes':
        """The best ``number`` boxes, and all others that score ``threshold`` or more."""
        if self.scores is None:
            return self
        order = np.argsort(-self.scores, kind='stable')
        kept = [i for rank, i in enumerate(order) if rank < number or self.scores[i] >= threshold]
        return NamedBoxes(self.boxes[kept], [self.names[i] for i in kept], self.scores[kept])


def truth_card(
    image: np.ndarray,
    name: str,
    phrases: Sequence[str],
    truth: NamedBoxes | None,
    found: NamedBoxes,
    threshold: float,
) -> Card:
    """An image twice, with its true boxes and with what was found.

    As many of the best boxes are drawn as there are true ones, however low their scores are, and
    all others from the threshold on.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: of the image, written below.
        phrases: everything that was looked for; fixes the colours.
        truth: the true boxes; None if they are not known.
        found: the detections, with scores.
        threshold: of scores.
    """
    number = 1 if truth is None else len(truth.names)
    shown = found.best(number, threshold)
    colors = _colors(phrases)
    count = f'{len(truth.names)} true' if truth is not None else 'truth not known'
    above = 0 if found.scores is None else int((found.scores >= threshold).sum())
    weak = f', {len(shown.names) - above} below {threshold:g}' * (len(shown.names) > above)
    return Card(
        [_drawn(image, truth, colors), _drawn(image, shown, colors)],
        [
            [
                (f'{name}  ', PLAIN),
                (f'{count} | found {above} of {threshold:g} or more{weak}', QUIET),
            ]
        ],
    )


def _colors(phrases: Sequence[str]) -> dict[str, RGB]:
    chosen = phrase_colors(phrases, range(len(phrases)))
    return {phrase: chosen[label] for label, phrase in enumerate(phrases)}


def _drawn(image: np.ndarray, boxes: NamedBoxes | None, colors: dict[str, RGB]) -> np.ndarray:
    canvas = fit_width(Image.fromarray(image), WIDTH)
    if boxes is not None and len(boxes.names):
        scale = np.array([canvas.width / image.shape[1], canvas.height / image.shape[0]] * 2)
        details = [''] * len(boxes.names)
        if boxes.scores is not None:
            details = [f'{score:.2f}' for score in boxes.scores]
        draw_tagged_boxes(
            canvas,
            (boxes.boxes * scale).tolist(),
            list(boxes.names),
            details,
            [colors.get(name, (0, 0, 0)) for name in boxes.names],
            TAG,
        )
    return np.asarray(canvas)
