"""What is kept of detections when they become labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.apis.result_formats import corners
from fiber_mmdet.fields import NUMBER, check_value
from fiber_mmdet.formats.labelled import listed
from fiber_mmdet.records import read_json


class RuleError(ValueError):
    """Rules that cannot be followed; the message says which."""


@dataclass(frozen=True)
class Rules:
    """Rules for pseudo-labels, applied in this order.

    Attributes:
        score_thr: least score of a box.
        thresholds: the same for single names; the others have ``score_thr``.
        min_size: least width and height in pixels of the image.
        nms: boxes that overlap a better one of their own name by more than this IoU are dropped,
            beside what the model does itself; None for no such rule.
        nms_across: the same for a better one of any name.
        max_boxes: the best ones that are kept of an image; None for all.
    """

    score_thr: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_size: float = 0.0
    nms: float | None = None
    nms_across: float | None = None
    max_boxes: int | None = None

    def __post_init__(self) -> None:
        for name, what in (
            ('score_thr', 'a score'),
            ('nms', 'an overlap'),
            ('nms_across', 'an overlap'),
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise RuleError(f'{name}={value} is {what}, 0 to 1')
        if self.max_boxes is not None and self.max_boxes < 1:
            raise RuleError(f'max_boxes={self.max_boxes} must be 1 or more')
        if self.min_size < 0:
            raise RuleError(f'min_size={self.min_size} is a number of pixels')

    @property
    def floor(self) -> float:
        """The score below which nothing is ever kept."""
        return min((self.score_thr, *self.thresholds.values()))

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse thresholds of names that are not looked for.

        Raises:
            RuleError: there are such.
        """
        unknown = [name for name in self.thresholds if name not in names]
        if unknown:
            raise RuleError(
                f'there is a threshold for {unknown[0]!r}, which is not looked for (looked for: '
                f'{listed(map(repr, names), 10)}): correct it'
            )

    def __call__(self, record: dict[str, Any], phrases: Sequence[str]) -> dict[str, Any]:
        """A record with the detections that are kept.

        Args:
            record: what ``GroundingResult.to_dict`` gives; of a detection only ``box``, ``score``
                and ``label`` are read.
            phrases: by label.
        """
        found, boxes = record['detections'], np.array(corners(record)).reshape(-1, 4)
        rows = [
            i
            for i, one in enumerate(found)
            if one['score'] >= self.thresholds.get(phrases[one['label']], self.score_thr)
            and min(boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1]) >= self.min_size
        ]
        rows.sort(key=lambda i: -found[i]['score'])  # stable
        labels = [phrases[one['label']] for one in found]
        if self.nms is not None:
            rows = _suppress(rows, boxes, self.nms, labels)
        if self.nms_across is not None:
            rows = _suppress(rows, boxes, self.nms_across, [''] * len(found))
        return dict(record, detections=[found[i] for i in rows[: self.max_boxes]])


def _suppress(
    rows: list[int], boxes: np.ndarray, overlap: float, labels: Sequence[str]
) -> list[int]:
    """Rows, best first, without those that overlap a better one of their label by more."""
    import torch
    from mmcv.ops import nms

    kept: set[int] = set()
    for label in dict.fromkeys(labels[i] for i in rows):
        some = [i for i in rows if labels[i] == label]
        ranks = torch.arange(len(some), 0, -1, dtype=torch.float32)  # ties stay in their order
        chosen = nms(torch.from_numpy(boxes[some]).float(), ranks, overlap)[1]
        kept.update(some[i] for i in chosen.tolist())
    return [i for i in rows if i in kept]


def read_thresholds(path: str | Path) -> dict[str, float]:
    """Thresholds by name from a json or yaml file, ``{"dog": 0.4}``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds something else.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in ('.yaml', '.yml'):
        import yaml

        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RuleError(f'{path} is not yaml ({" ".join(str(error).split())})') from error
        if not isinstance(content, dict):
            raise RuleError(f'{path} must hold a threshold for each name, "dog: 0.4"')
    else:
        content = read_json(str(path), dict, 'an object {"dog": 0.4, …}')
    found = {}
    for name, value in content.items():
        value = check_value(value, NUMBER, str(path), f'for {name!r}')
        if not isinstance(name, str) or not 0 <= value <= 1:
            raise RuleError(f'{path}: {name!r}: {value} must be a name and a score of 0 to 1')
        found[name] = float(value)
    return found
