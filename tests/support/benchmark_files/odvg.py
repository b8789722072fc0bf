"""ODVG: the output of mmdet's converters for Objects365 and MDETR's files."""

import json
from pathlib import Path

from mmdet.datasets import Objects365V1Dataset

from fiber_scenes import describe

from .scene_images import scene_image


def write_odvg(data: Path) -> None:
    """Write a jsonl of categories with its label map, and one of captions.

    The images are those of Objects365 v1 and Visual Genome, written with their own annotations.
    """
    names = Objects365V1Dataset.METAINFO['classes']
    root = data / 'objects365v1'
    (root / 'o365v1_label_map.json').write_text(
        json.dumps({str(i): name for i, name in enumerate(names)})
    )
    _write_lines(
        root / 'o365v1_train_od.json',
        [
            _line(
                number,
                f'obj365_train_{1000 * number + 75:012d}.jpg',
                detection={
                    'instances': [
                        {'bbox': box, 'label': kind, 'category': names[kind]}
                        for box, kind in zip(
                            _corners(number), scene_image(number).kinds(len(names))
                        )
                    ]
                },
            )
            for number in range(5)
        ],
    )
    _write_lines(
        data / 'gqa/final_mixed_train_no_coco_vg.json',
        [
            _line(number, f'{2370799 + number}.jpg', grounding=_caption(number))
            for number in range(4)
        ],
    )


def _write_lines(path: Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def _line(number: int, name: str, **content: dict) -> dict:
    return dict(
        filename=name, height=scene_image(number).height, width=scene_image(number).width, **content
    )


def _corners(number: int) -> list[list[float]]:
    return [[x, y, round(x + w, 2), round(y + h, 2)] for x, y, w, h in scene_image(number).boxes]


def _caption(number: int) -> dict:
    (caption,) = describe(scene_image(number).scene, 1)
    regions = []
    for phrase in caption.phrases:
        boxes = [_corners(number)[i] for i in phrase.objects]
        regions.append(
            {
                'phrase': caption.words_of(phrase),
                'bbox': boxes if len(boxes) > 1 else boxes[0],
                'tokens_positive': [[phrase.begin, phrase.end]],
            }
        )
    return {'caption': caption.text, 'regions': regions}
