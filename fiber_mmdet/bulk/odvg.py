"""Detections as ODVG lines, which ``GroundingODVGDataset`` and mmdet's ``ODVGDataset`` read."""

from collections.abc import Mapping
from typing import Any

from fiber_mmdet.apis.result_formats import corners, image_file
from fiber_mmdet.apis.table_files import unicode


def odvg_line(record: Mapping[str, Any], of_names: bool) -> dict[str, Any]:
    """A record as a line.

    Boxes of a vocabulary become ``detection`` with labels, which a label map names; boxes of a text
    become ``grounding``, with the characters of each phrase that was found. Each has its ``score``.

    Args:
        record: what ``GroundingResult.to_dict`` gives.
        of_names: whether the prompt was a vocabulary, whose order is that of the label map.
    """
    line: dict[str, Any] = dict(
        filename=unicode(image_file(record)), height=record['height'], width=record['width']
    )
    found = list(zip(record['detections'], corners(record)))
    if of_names:
        instances = [
            dict(bbox=list(box), label=one['label'], category=one['phrase'], score=one['score'])
            for one, box in found
        ]
        return dict(line, detection=dict(instances=instances))
    regions: dict[int, dict[str, Any]] = {}
    for one, box in found:
        region = regions.setdefault(
            one['label'],
            dict(bbox=[], phrase=one['phrase'], tokens_positive=one['spans'], scores=[]),
        )
        region['bbox'].append(list(box))
        region['scores'].append(one['score'])
    return dict(line, grounding=dict(caption=record['caption'], regions=list(regions.values())))


def label_map(names: tuple[str, ...]) -> dict[str, str]:
    """The label map of a vocabulary."""
    return {str(label): name for label, name in enumerate(names)}
