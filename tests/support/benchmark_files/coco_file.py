"""A COCO-style json under construction."""

import json
from pathlib import Path
from typing import Any

from .scene_images import SceneImage


class CocoFile:
    """Images, annotations and categories.

    Args:
        categories: records with id and name.
        first_id: number of the first annotation.
    """

    def __init__(self, categories: list[dict], first_id: int = 1) -> None:
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.categories = categories
        self.next_id = first_id

    def add_image(self, image_id: int, source: SceneImage, **fields: Any) -> None:
        """Add the record of an image."""
        self.images.append(dict(id=image_id, height=source.height, width=source.width, **fields))

    def add_box(self, image_id: int, category_id: int, bbox: list[float], **fields: Any) -> None:
        """Add a box (x, y, w, h) whose area is width x height unless given."""
        self.annotations.append(
            {
                'id': self.next_id,
                'image_id': image_id,
                'category_id': category_id,
                'bbox': bbox,
                'area': round(bbox[2] * bbox[3], 4),
                **fields,
            }
        )
        self.next_id += 1

    def add_objects(self, image_id: int, source: SceneImage, **fields: Any) -> None:
        """Add the boxes of all objects of an image."""
        for bbox, kind in zip(source.boxes, source.kinds(len(self.categories))):
            self.add_box(image_id, self.categories[kind]['id'], bbox, **fields)

    def save(self, path: Path, **fields: Any) -> None:
        """Write the file, and create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {
                    'info': {'description': 'generated'},
                    'licenses': [],
                    'images': self.images,
                    'annotations': self.annotations,
                    'categories': self.categories,
                    **fields,
                }
            )
        )


def polygon(bbox: list[float]) -> list[list[float]]:
    """A box as a segmentation."""
    x, y, w, h = bbox
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]
