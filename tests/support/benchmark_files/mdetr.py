"""MDETR's other files: mixed captions of COCO and Visual Genome, and referring expressions."""

from pathlib import Path

from fiber_scenes import Caption, describe, refer

from .coco import TRAIN2014, coco_categories, coco_id
from .coco_file import CocoFile
from .flickr30k import add_descriptions
from .scene_images import scene_image

GENOME = range(4)
REFCOCO = {
    'refcoco': ('train', 'val', 'testA', 'testB'),
    'refcoco+': ('train', 'val', 'testA', 'testB'),
    'refcocog': ('train', 'val', 'test'),
}


def write_mixed(data: Path) -> None:
    """Write final_mixed_train_no_coco.json and the images of Visual Genome.

    Its oddities: a phrase in two pieces, equal phrases at two places, a box that extends beyond the
    image, a caption without any box, and a box without size.
    """
    file = CocoFile([], first_id=0)
    for source, numbers in (('coco', TRAIN2014), ('vg', GENOME)):
        for number in numbers:
            name, original = _image_of(data, source, number)
            for caption in describe(scene_image(number).scene, 1):
                _add_caption(
                    file,
                    number,
                    caption,
                    file_name=name,
                    data_source=source,
                    original_id=original,
                    dataset_name='mixed',
                )
    twice = 'a shape. a shape beside a café.'
    record = _add_record(
        file,
        0,
        twice,
        file_name=_image_of(data, 'vg', 0)[0],
        data_source='vg',
        original_id=_image_of(data, 'vg', 0)[1],
        dataset_name='mixed',
    )
    x, y, w, h = scene_image(0).boxes[1]
    file.add_box(record, 1, scene_image(0).boxes[0], iscrowd=0, tokens_positive=[[0, 7]])
    file.add_box(
        record,
        1,
        [x, y, w + scene_image(0).width, h],
        iscrowd=0,
        tokens_positive=[[9, 16], [17, 30]],
    )
    file.add_box(record, 1, [5.0, 5.0, 0.0, 9.0], iscrowd=0, tokens_positive=[[0, 7]])
    _add_record(
        file,
        1,
        'nothing to see here.',
        file_name=_image_of(data, 'vg', 1)[0],
        data_source='vg',
        original_id=_image_of(data, 'vg', 1)[1],
        dataset_name='mixed',
    )
    file.save(data / 'mdetr_annotations/final_mixed_train_no_coco.json')
    add_descriptions(file)
    for box in file.annotations:
        box['nouns'] = ['shape']
    file.save(data / 'mdetr_annotations/final_mixed_train_no_coco_with_nouns_gpt.0425.json')


def write_refcoco(data: Path) -> None:
    """Write finetune_<set>_<split>.json: one expression with one box per record."""
    for name, splits in REFCOCO.items():
        for split in splits:
            file = CocoFile(coco_categories(), first_id=0)
            for number in TRAIN2014:
                for expression in refer(scene_image(number).scene, 1):
                    _add_caption(
                        file,
                        number,
                        expression,
                        file_name=_image_name('coco', number),
                        original_id=coco_id(number),
                        dataset_name=name,
                    )
            file.save(data / f'mdetr_annotations/finetune_{name}_{split}.json')


def _image_name(source: str, number: int) -> str:
    if source == 'coco':
        return f'COCO_train2014_{coco_id(number):012d}.jpg'
    return f'{2370799 + number}.jpg'


def _image_of(data: Path, source: str, number: int) -> tuple[str, str]:
    """File name and id of an image, which is written unless it is one of COCO's."""
    name = _image_name(source, number)
    if source == 'vg':
        scene_image(number).write(data / 'gqa/images' / name)
        return name, name.split('.')[0]
    return name, str(coco_id(number))


def _add_record(file: CocoFile, number: int, text: str, **fields) -> int:
    record = len(file.images)
    file.add_image(
        record, scene_image(number), caption=text, tokens_negative=[[0, len(text)]], **fields
    )
    return record


def _add_caption(file: CocoFile, number: int, caption: Caption, **fields) -> None:
    """A record, and a box for each object with the spans of the phrases that name it."""
    record = _add_record(file, number, caption.text, **fields)
    kinds = scene_image(number).kinds(len(file.categories) or 1)
    for i, bbox in enumerate(scene_image(number).boxes):
        spans = [[phrase.begin, phrase.end] for phrase in caption.phrases if i in phrase.objects]
        if spans:
            category = file.categories[kinds[i]]['id'] if file.categories else 1
            file.add_box(record, category, bbox, iscrowd=0, tokens_positive=spans)
