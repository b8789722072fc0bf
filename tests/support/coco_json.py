"""Small COCO-style files and images for the tests of the datasets."""

import json

import numpy as np
from PIL import Image


def image(number, **fields):
    return dict(id=number, file_name=f'{number}.jpg', width=64, height=48, **fields)


def box(number, image_id, bbox, category_id=1, **fields):
    return dict(
        id=number,
        image_id=image_id,
        bbox=bbox,
        category_id=category_id,
        iscrowd=0,
        area=bbox[2] * bbox[3],
        **fields,
    )


def write_json(path, images, annotations, categories=None):
    """The path of a file with these records; ``categories`` maps ids to names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[
                    dict(id=i, name=name) for i, name in (categories or {1: 'object'}).items()
                ],
            )
        )
    )
    return str(path)


def write_image(path, seed=0, size=(64, 48)):
    """A noisy image (as png bytes whatever its name, so that its pixels survive); its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, 'png')
    return pixels
