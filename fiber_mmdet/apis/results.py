"""What inferencers answer, and writing it to files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fiber_mmdet.outputs import image_format, write_image, write_json
from fiber_mmdet.text.prompts import Span
from fiber_mmdet.visualization.detections import draw_detections
from fiber_mmdet.visualization.writing import printable

from .inputs import ImageLike, read_image


class Answer(NamedTuple):
    """An answer to a question, and its score from 0 to 1."""

    answer: str
    score: float


class Verdict(NamedTuple):
    """Whether a statement is true, and the probability that it is."""

    true: bool
    probability: float


@dataclass(frozen=True, eq=False)
class GroundingResult:
    """Detections in one image under one prompt, best first.

    Attributes:
        boxes: (M, 4) float32 xyxy in pixels of the original image.
        scores: (M,) float32, 0 to 1, descending.
        labels: (M,) int64, indices into ``phrases``.
        phrases: everything that was looked for, in the caller's own words. A phrase that occurs
            twice in a caption has two labels.
        spans: per phrase, the half-open character spans ``(begin, end)`` in ``caption``.
        caption: the text that the model read; one caption even if a vocabulary was read in chunks.
        image_size: height and width of the image in pixels.
        image: path of the image, None if it came as pixels.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    phrases: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    caption: str
    image_size: tuple[int, int]
    image: str | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        """A table of the detections, best first, boxes in pixels of the image."""
        if not len(self):
            return 'nothing found'
        names = [printable(name) for name in self.names]
        width = max(len(name) for name in [*names, 'phrase'])
        rows = [f'score  {"phrase":<{width}}     x1    y1    x2    y2']
        for score, name, box in zip(self.scores, names, self.boxes):
            rows.append(f'{score:5.2f}  {name:<{width}}  ' + ' '.join(f'{v:5.0f}' for v in box))
        return '\n'.join(rows)

    @property
    def names(self) -> list[str]:
        """The phrase of each detection."""
        return [self.phrases[label] for label in self.labels.tolist()]

    def above(self, score_thr: float) -> 'GroundingResult':
        """The detections that score at least ``score_thr``."""
        kept = self.scores >= score_thr
        return replace(
            self, boxes=self.boxes[kept], scores=self.scores[kept], labels=self.labels[kept]
        )

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python, ready for JSON.

        Returns:
            ``image``, ``width``, ``height``, ``caption``, ``phrases`` and ``detections``; of each
            detection ``box`` (x1, y1, x2, y2 in pixels, two decimals), ``score`` (four decimals),
            ``label``, ``phrase`` and ``spans``.
        """
        height, width = self.image_size
        detections = [
            dict(
                box=[round(v, 2) for v in box],
                score=round(score, 4),
                label=label,
                phrase=self.phrases[label],
                spans=[list(span) for span in self.spans[label]],
            )
            for box, score, label in zip(
                self.boxes.tolist(), self.scores.tolist(), self.labels.tolist()
            )
        ]
        return dict(
            image=self.image,
            width=width,
            height=height,
            caption=self.caption,
            phrases=list(self.phrases),
            detections=detections,
        )

    def save_json(self, path: str | Path) -> Path:
        """Write :meth:`to_dict` as UTF-8 JSON; folders are made. Returns the path.

        Raises:
            OutputError: the path is a folder, or the image itself.
            OSError: it cannot be written; what was there before is unchanged.
        """
        return save_json(self.to_dict(), path, [self.image])

    def draw(
        self, image: ImageLike | None = None, path: str | Path | None = None, score_thr: float = 0.0
    ) -> np.ndarray:
        """Draw the detections and the caption; see :func:`draw_result`.

        Args:
            image: the image that was searched; may be left out if it came from a file.
            path: also write the drawing there, in the format of its ending; folders are made.
            score_thr: detections below this score are left out.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ValueError: no image, an image of another size, or a path without the ending of an image
                format, or of the image itself.
            OSError: the drawing cannot be written; what was there before is unchanged.
        """
        if path is not None:
            image_format(path)
        drawing = draw_result(searched_image(image, self.image), self, score_thr)
        if path is not None:
            save_drawing(drawing, path, quality=95, optimize=False, inputs=[image, self.image])
        return drawing


def draw_result(image: np.ndarray, result: GroundingResult, score_thr: float = 0.0) -> np.ndarray:
    """Draw detections on their image and the caption below it.

    Every phrase has one colour, shared by its boxes, their tags and its words in the caption.
    Images whose longer side is below 768 pixels are enlarged.

    Args:
        image: (H, W, 3) uint8 RGB, the image the result belongs to.
        result: what was found in it.
        score_thr: detections below this score are left out.

    Returns:
        A new (H', W', 3) uint8 RGB array.

    Raises:
        ValueError: an image of another type or shape, or not of the size the boxes refer to.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'image must be a (H, W, 3) uint8 RGB array, got {image.dtype} of shape {image.shape}'
        )
    if image.shape[:2] != tuple(result.image_size):
        raise ValueError(
            'the boxes are in pixels of an image of {1}x{0}, but this one is {3}x{2}: draw on the '
            'image that was searched'.format(*result.image_size, *image.shape[:2])
        )
    result = result.above(score_thr)
    return draw_detections(
        image,
        result.boxes,
        result.scores.tolist(),
        result.labels.tolist(),
        result.phrases,
        result.spans,
        result.caption,
    )


def searched_image(image: ImageLike | None, path: str | None) -> np.ndarray:
    """Pixels of the image that a result is about.

    Args:
        image: the image, if the caller has it.
        path: where it came from; None if it came as pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: neither is given.
        FileNotFoundError, ImageError: an image that cannot be read.
    """
    image = path if image is None else image
    if image is None:
        raise ValueError('the image came as pixels, which a result does not keep: draw(image, …)')
    return read_image(image)


def save_drawing(
    drawing: np.ndarray,
    path: str | Path,
    quality: int = 85,
    optimize: bool = True,
    inputs: Sequence[Any] = (),
) -> Path:
    """Write a (H, W, 3) uint8 RGB array by the ending of its path; folders are made.

    Args:
        drawing: the array.
        path: where to write it.
        quality: of JPEG files, 0 to 95.
        optimize: search for the smallest file.
        inputs: what was read; files among it are not overwritten.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError: the path has no ending of an image format, is a folder, or one of the inputs.
        OSError: it cannot be written; what was there before is unchanged.
    """
    return write_image(path, drawing, files_among(inputs), quality=quality, optimize=optimize)


def save_json(content: Any, path: str | Path, inputs: Sequence[Any] = ()) -> Path:
    """Write plain Python as UTF-8 JSON; folders are made. Returns the path, ``~`` expanded.

    Raises:
        OutputError: the path is a folder, or one of the files among ``inputs``.
        OSError: it cannot be written; what was there before is unchanged.
    """
    return write_json(path, content, files_among(inputs), indent=2)


def files_among(inputs: Sequence[Any]) -> list[str | Path]:
    """Paths among images in any form; a PIL image stands for the file that it was opened from."""
    paths = [getattr(item, 'filename', item) for item in inputs]
    return [path for path in paths if isinstance(path, (str, Path)) and str(path)]
