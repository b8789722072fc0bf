"""Visual Genome: region descriptions, image data, and images in two folders."""

import json
from pathlib import Path

from fiber_scenes import describe

from .coco import coco_id
from .scene_images import scene_image

NUMBERS = range(6)
IN_COCO = {2: coco_id(25), 3: coco_id(11)}  # images that are in COCO, too


def vg_id(number: int) -> int:
    """Id of an image in Visual Genome."""
    return 1 + 61 * number if number % 2 else 2315353 + number


def write_visual_genome(root: Path) -> None:
    """Write region_descriptions.json, image_data.json and the images."""
    regions, images = [], []
    for number in NUMBERS:
        folder = 'VG_100K' if number % 2 else 'VG_100K_2'
        scene_image(number).write(root / folder / f'{vg_id(number)}.jpg')
        images.append(
            dict(
                width=scene_image(number).width,
                height=scene_image(number).height,
                image_id=vg_id(number),
                url=f'https://cs.stanford.edu/people/rak248/{folder}/{vg_id(number)}.jpg',
                coco_id=IN_COCO.get(number),
                flickr_id=None,
            )
        )
        regions.append(dict(id=vg_id(number), regions=_regions(number)))
    for name, content in (('region_descriptions', regions), ('image_data', images)):
        (root / f'{name}.json').write_text(json.dumps(content))


def _regions(number: int) -> list[dict]:
    """A region for each object that a caption names; phrases are repeated, the last is blank."""
    found = []
    for caption in describe(scene_image(number).scene, 3):
        for phrase in caption.phrases:
            x, y, w, h = (round(side) for side in scene_image(number).boxes[phrase.objects[0]])
            found.append(dict(x=x, y=y, width=w, height=h, phrase=caption.words_of(phrase)))
    found += [dict(found[0], x=1), dict(found[0], phrase=' ')]
    return [
        dict(region, region_id=1000 * number + i, image_id=vg_id(number))
        for i, region in enumerate(found)
    ]
