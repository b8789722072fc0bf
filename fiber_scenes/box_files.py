"""Boxes, captions and expressions of scenes as COCO, MDETR and ODVG files have them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .captions import Caption
from .scene import Scene, SceneObject
from .world import COLORS, HELD_OUT, SHAPES, SIZES

# Increased whenever the same arguments would give files with other boxes, which contain it.
BOXES_VERSION = 2


class CocoFile:
    """A COCO json under construction, with annotations numbered from 1."""

    def __init__(self, categories: list[dict]) -> None:
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.categories = categories

    def add_image(self, scene: Scene, image_id: int, **fields: Any) -> None:
        """Add an image record with the given extra fields."""
        self.images.append(
            {
                'id': image_id,
                'file_name': image_name(scene),
                'height': scene.image_size,
                'width': scene.image_size,
                **fields,
            }
        )

    def add_annotation(
        self, image_id: int, item: SceneObject, category_id: int, **fields: Any
    ) -> None:
        """Add a box with the given extra fields; its area is that of the box."""
        x1, y1, x2, y2 = _rounded(item)
        width, height = round(x2 - x1, 2), round(y2 - y1, 2)
        self.annotations.append(
            {
                'id': len(self.annotations) + 1,
                'image_id': image_id,
                'category_id': category_id,
                'bbox': [x1, y1, width, height],
                'area': round(width * height, 2),
                'iscrowd': 0,
                'novel': item.novel,
                **fields,
            }
        )

    def add_caption(
        self, scene: Scene, caption: Caption, dataset_name: str, sentence_id: int
    ) -> None:
        """Add an image record for a caption and a box for each link of its phrases."""
        image_id = len(self.images)
        spans = [[[phrase.begin, phrase.end]] for phrase in caption.phrases]
        self.add_image(
            scene,
            image_id,
            caption=caption.text,
            dataset_name=dataset_name,
            original_img_id=scene.index,
            sentence_id=sentence_id,
            tokens_negative=[[0, len(caption.text)]],
            tokens_positive_eval=spans,
        )
        for i, phrase in enumerate(caption.phrases):
            for j in phrase.objects:
                self.add_annotation(
                    image_id, scene.objects[j], 1, tokens_positive=spans[i], phrase_ids=[i]
                )

    def save(self, path: Path, description: str) -> None:
        """Write the file."""
        content = {
            'info': {'description': description, 'version': str(BOXES_VERSION)},
            'licenses': [],
            'images': self.images,
            'annotations': self.annotations,
            'categories': self.categories,
        }
        path.write_text(json.dumps(content))


def image_name(scene: Scene) -> str:
    """Name of the file of an image."""
    return f'{scene.index:06d}.jpg'


def _rounded(item: SceneObject) -> list[float]:
    return [round(v, 2) for v in item.box]


def combination_categories() -> list[dict]:
    """The categories "blue circle", … by name, ids from 1."""
    split_of = {pair: split for split, pairs in HELD_OUT.items() for pair in pairs}
    pairs = sorted((f'{color} {shape}', color, shape) for color in COLORS for shape in SHAPES)
    return [
        {'id': i, 'name': name, 'supercategory': shape, 'held_out': split_of.get((color, shape))}
        for i, (name, color, shape) in enumerate(pairs, start=1)
    ]


def sized_categories() -> list[dict]:
    """The categories "large blue circle", "small blue circle", … by name, ids from 1."""
    known = {
        f'{size} {category["name"]}': category
        for size in SIZES
        for category in combination_categories()
    }
    return [{**known[name], 'id': i, 'name': name} for i, name in enumerate(sorted(known), start=1)]


def word_categories(words: Iterable[str], kind: str) -> list[dict]:
    """Categories of one word each by name, ids from 1."""
    return [
        {'id': i, 'name': word, 'supercategory': kind}
        for i, word in enumerate(sorted(words), start=1)
    ]


def odvg_line(scene: Scene, caption: Caption) -> str:
    """One caption of a scene as a line of MMDetection's ODVG format."""
    regions = []
    for phrase in caption.phrases:
        boxes = [_rounded(scene.objects[j]) for j in phrase.objects]
        regions.append(
            {
                'bbox': boxes if len(boxes) > 1 else boxes[0],
                'phrase': caption.words_of(phrase),
                'tokens_positive': [[phrase.begin, phrase.end]],
            }
        )
    return json.dumps(
        {
            'filename': image_name(scene),
            'height': scene.image_size,
            'width': scene.image_size,
            'grounding': {'caption': caption.text, 'regions': regions},
        }
    )
