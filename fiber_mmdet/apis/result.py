"""What the inferencer answers: boxes that know their phrase."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.visualization.picture_files import save_json, writable

from .images import ImageLike, read_image

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class GroundingResult:
    """Detections in one image under one prompt, best first.

    Attributes:
        boxes: (M, 4) float32, x1, y1, x2, y2 in pixels of the original image.
        scores: (M,) float32, 0 to 1, descending.
        labels: (M,) int64, indices into ``phrases``.
        phrases: everything that was looked for, in the caller's own words. The same words said
            twice in a caption are two labels.
        spans: per phrase, the half-open character spans ``(begin, end)`` in ``caption``.
        caption: the text the model read. A vocabulary read in chunks is given as one caption.
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
        width = max(len(name) for name in [*self.names, 'phrase'])
        rows = [f'score  {"phrase":<{width}}     x1    y1    x2    y2']
        for score, name, box in zip(self.scores, self.names, self.boxes):
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
        """Write :meth:`to_dict` as UTF-8 JSON; folders are made. Returns the path."""
        return save_json(self.to_dict(), path)

    def draw(
        self, image: ImageLike | None = None, path: str | Path | None = None, score_thr: float = 0.0
    ) -> np.ndarray:
        """Draw the detections and the caption; see :func:`fiber_mmdet.apis.draw_result`.

        Args:
            image: the image that was searched; may be left out if it came from a file.
            path: where to write the picture too, by its extension; folders are made.
            score_thr: detections below this score are left out.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ValueError: no image, an image of another size, or a path without the extension of
                an image format.
        """
        from fiber_mmdet.visualization.drawing import draw_result

        if image is None:
            image = self.image
        if image is None:
            raise ValueError(
                'the image came as pixels, which a result does not keep: draw(image, …)'
            )
        picture = draw_result(read_image(image), self, score_thr)
        if path is not None:
            from PIL import Image

            Image.fromarray(picture).save(writable(path), quality=95)
        return picture
