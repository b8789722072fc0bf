"""D³: images in groups, with sentences that describe some objects, as pickles and json."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fiber_scenes import SceneObject

from .coco_file import CocoFile, polygon
from .scene_images import scene_image

GROUPS = (range(0, 3), range(3, 6))


@dataclass(frozen=True)
class Sentence:
    """A description and the objects that it fits.

    Attributes:
        words: the description.
        shape: of the objects it is about.
        size: required of them; any if empty.
        color: required of them; any if empty.
        absence: whether they must lack that size and colour instead.
    """

    words: str
    shape: str
    size: str = ''
    color: str = ''
    absence: bool = False

    def fits(self, item: SceneObject) -> bool:
        """Whether it fits an object."""
        same = self.size in ('', item.size) and self.color in ('', item.color)
        return item.shape == self.shape and same != self.absence


def _sentences(group: range) -> list[Sentence]:
    """Descriptions of all four lengths, of what the images of a group show."""
    items = [item for number in group for item in scene_image(number).scene.objects]
    first, second = items[0], next(item for item in items if item.shape != items[0].shape)
    return [
        Sentence(f'{first.color} {first.shape}', first.shape, color=first.color),
        Sentence(f'a {second.shape} of any color', second.shape),
        Sentence(
            f'a {second.shape} that is not {second.color} in color',
            second.shape,
            color=second.color,
            absence=True,
        ),
        Sentence(
            f'one of the {first.size} {first.shape}s that can be seen in this image',
            first.shape,
            size=first.size,
        ),
    ]


def write_d3(root: Path) -> None:
    """d3_images/, d3_pkl/ (what the package d_cube reads) and d3_json/ (what is evaluated)."""
    tables = {'images': {}, 'sentences': {}, 'annotations': {}, 'groups': {}}
    sentences: dict[int, Sentence] = {}
    for group_id, numbers in enumerate(GROUPS):
        own = {len(sentences) + i: s for i, s in enumerate(_sentences(numbers), 1)}
        sentences.update(own)
        tables['groups'][group_id] = dict(
            id=group_id,
            pos_sent_id=[],
            inner_sent_id=list(own),
            outer_sent_id=[],
            img_id=list(numbers),
            scene=['indoor'],
            group_name=f'group_{group_id}',
            group_name_zh='组',
        )
        for sentence_id, sentence in own.items():
            tables['sentences'][sentence_id] = dict(
                id=sentence_id,
                anno_id=[],
                group_id=[group_id],
                is_negative=sentence.absence,
                raw_sent=sentence.words,
                raw_sent_zh='句子',
            )
        for number in numbers:
            name = f'{group_id}_{number}.jpg'
            scene_image(number).write(root / 'd3_images' / name)
            tables['images'][number] = dict(
                id=number,
                file_name=name,
                height=scene_image(number).height,
                width=scene_image(number).width,
                flickr_url='',
                anno_id=[],
                group_id=group_id,
                license='',
            )
            for bbox, item in zip(scene_image(number).boxes, scene_image(number).scene.objects):
                _add_object(tables, number, bbox, [i for i, s in own.items() if s.fits(item)])
    (root / 'd3_pkl').mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        (root / f'd3_pkl/{name}.pkl').write_bytes(pickle.dumps(table))
    for name, wanted in (('full', (False, True)), ('pres', (False,)), ('abs', (True,))):
        _json(tables, wanted).save(root / f'd3_json/d3_{name}_annotations.json')


def _add_object(
    tables: dict[str, dict], image: int, bbox: list[float], sentence_ids: list[int]
) -> None:
    """An object of an image, unless no sentence fits it."""
    if not sentence_ids:
        return
    group, number = tables['images'][image]['group_id'], len(tables['annotations']) + 1
    tables['annotations'][number] = dict(
        id=number,
        sent_id=sentence_ids,
        segmentation=[],
        area=int(bbox[2] * bbox[3]),
        iscrowd=0,
        image_id=image,
        bbox=np.array([bbox]),
        group_id=group,
    )
    tables['images'][image]['anno_id'].append(number)
    for i in sentence_ids:
        tables['sentences'][i]['anno_id'].append(number)
        if i not in tables['groups'][group]['pos_sent_id']:
            tables['groups'][group]['pos_sent_id'].append(i)


def _json(tables: dict[str, dict], wanted: tuple[bool, ...]) -> CocoFile:
    """COCO json whose categories are the sentences of a kind, by their ids."""
    kept = {i: s for i, s in tables['sentences'].items() if s['is_negative'] in wanted}
    file = CocoFile([dict(id=i, name=s['raw_sent']) for i, s in kept.items()])
    for image in tables['images'].values():
        file.add_image(image['id'], scene_image(image['id']), file_name=image['file_name'])
    for annotation in tables['annotations'].values():
        bbox = annotation['bbox'][0].tolist()
        for i in annotation['sent_id']:
            if i in kept:
                file.add_box(annotation['image_id'], i, bbox, iscrowd=0, segmentation=polygon(bbox))
    return file
