"""What inferencers answer, and writing it to files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fiber_mmdet.host import need_extra
from fiber_mmdet.outputs import image_format, write_json
from fiber_mmdet.text.prompts import Span
from fiber_mmdet.visualization.detections import draw_detections

from .inputs import ImageLike
from .result_formats import COLUMNS, coco_content, label_studio_task, table_rows
from .showing import Drawable, files_among, save_drawing, searched_image
from .text_table import text_table

# least score of a detection, wherever none is given
SCORE_THR = 0.5


class Answer(NamedTuple):
    """An answer to a question, and its score from 0 to 1."""

    answer: str
    score: float


class Verdict(NamedTuple):
    """Whether a statement is true, and the probability that it is."""

    true: bool
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class GroundingResult(Drawable):
    """Detections in one image under one prompt, best first.

    It prints as a table, and shows itself as a drawing in notebooks. ``to_coco``,
    ``to_labelstudio``, ``to_pandas`` and ``to_supervision`` are for other programs, and
    :func:`~.result_files.save_results` writes many results into one file: docs/results.md.

    Attributes:
        boxes: (M, 4) float32 xyxy in pixels of the original image, from its upper left corner.
        scores: (M,) float32, 0 to 1, descending.
        labels: (M,) int64, indices into ``phrases``.
        phrases: everything that was looked for, in the caller's own words. A phrase that occurs
            twice in a caption has two labels.
        spans: per phrase, the half-open character spans ``(begin, end)`` in ``caption``.
        caption: the text that the model read; one caption even if a vocabulary was read in chunks.
        image_size: height and width of the image in pixels.
        image: path of the image, None if it came as pixels.
        inclusive: whether boxes end with their last pixel, so that x2 - x1 + 1 is the width, and
            not behind it. So they are where the benchmark of the config wants it, such as LVIS and
            RefCOCO; :attr:`exclusive_boxes` and what is made for other programs never are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    phrases: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    caption: str
    image_size: tuple[int, int]
    image: str | None = None
    inclusive: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        where = '' if self.image is None else f' in {self.image!r}'
        return f'<{type(self).__name__}: {len(self)} found for {self.caption!r}{where}>'

    def __str__(self) -> str:
        """A table of the detections, best first, boxes in pixels of the image.

        In a terminal it is as wide as that: phrases that are too long end in an ellipsis.
        """
        if not len(self):
            return 'nothing found'
        titles = ('score', 'phrase', 'x1', 'y1', 'x2', 'y2')
        rows = [
            [f'{score:.2f}', name, *(f'{v:.0f}' for v in box)]
            for score, name, box in zip(self.scores, self.names, self.boxes)
        ]
        return text_table(titles, rows, words='phrase')

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

    @property
    def exclusive_boxes(self) -> np.ndarray:
        """(M, 4) float32 xyxy in pixels: x2 - x1 is the width, and boxes end where the image does.

        These are the boxes of COCO, Label Studio, supervision and of all tables.
        """
        height, width = self.image_size
        boxes = self.boxes + np.array([0, 0, 1, 1], self.boxes.dtype) * self.inclusive
        return boxes.clip(0, np.array([width, height, width, height], self.boxes.dtype))

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python, ready for JSON.

        Returns:
            ``image``, ``width``, ``height``, ``caption``, ``phrases``, ``inclusive`` and
            ``detections``; of each detection ``box`` (x1, y1, x2, y2 in pixels, two decimals),
            ``score`` (four decimals), ``label``, ``phrase`` and ``spans``.
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
            inclusive=self.inclusive,
            detections=detections,
        )

    def to_coco(self, root: str | Path | None = None) -> dict[str, Any]:
        """The content of a COCO file of this image: ``images``, ``annotations``, ``categories``.

        A category is a phrase that was looked for, numbered from 1. Annotations have a ``score``.

        Args:
            root: folder that ``file_name`` is relative to; None for the path as it was given.

        Raises:
            ValueError: the image came as pixels, so that it has no file name.
        """
        return coco_content([self.to_dict()], root)

    def to_labelstudio(self, root: str | Path | None = None) -> dict[str, Any]:
        """A task for Label Studio whose prediction shows the detections; a list is a file of them.

        Args:
            root: folder that Label Studio serves; the address of the image is its path in there.

        Raises:
            ValueError: the image came as pixels, so that it has no file name.
        """
        return label_studio_task(self.to_dict(), root)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row per detection.

        Returns:
            Columns ``image``, ``width``, ``height``, ``label``, ``phrase``, ``score``, ``x1``,
            ``y1``, ``x2``, ``y2``, as in csv and parquet files; boxes as ``exclusive_boxes``.

        Raises:
            MissingExtra: pandas is not installed.
        """
        pandas = need_extra('pandas', 'tables', 'to_pandas')
        rows = pandas.DataFrame(table_rows(self.to_dict()), columns=list(COLUMNS))
        return rows if len(rows) else rows.astype(COLUMNS)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections``, to be drawn, tracked or counted by that library.

        Returns:
            ``xyxy`` is ``exclusive_boxes``, ``class_id`` the labels, ``data['class_name']`` the
            phrase of each detection.

        Raises:
            MissingExtra: supervision is not installed.
        """
        supervision = need_extra('supervision', 'supervision', 'to_supervision')
        return supervision.Detections(
            xyxy=self.exclusive_boxes,
            confidence=self.scores,
            class_id=self.labels.astype(int),
            data=dict(class_name=np.array(self.names, dtype=str)),
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


def save_json(content: Any, path: str | Path, inputs: Sequence[Any] = ()) -> Path:
    """Write plain Python as UTF-8 JSON; folders are made. Returns the path, ``~`` expanded.

    Raises:
        OutputError: the path is a folder, or one of the files among ``inputs``.
        OSError: it cannot be written; what was there before is unchanged.
    """
    return write_json(path, content, files_among(inputs), indent=2)
