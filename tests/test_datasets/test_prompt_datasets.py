"""Datasets as prompts: COCO categories, captions with spans, images."""

import io
import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

from coco_json import box
from fiber_mmdet.datasets import MDETRGroundingDataset, PromptCocoDataset
from fiber_mmdet.datasets.detection.annotation_checks import box_fault
from fiber_mmdet.inspection.source_check import collected_log


def image(number, **fields):
    return dict(id=number, file_name=f'{number}.jpg', width=100, height=80, **fields)


def write(path, images, annotations, categories=('object',)):
    if not isinstance(categories, dict):
        categories = {i: name for i, name in enumerate(categories, 1)}
    path.write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=i, name=name) for i, name in categories.items()],
            )
        )
    )
    return str(path)


# -------------------------------------------------------------- COCO categories
def test_a_flip_that_leaves_left_and_right_is_warned_of_once(coco):
    flip = [dict(type='RandomFlip', prob=0.5)]
    sides = {3: 'left_shoe', 5: 'cat', 9: 'bat'}
    with DefaultScope.overwrite_default_scope('mmdet'), collected_log() as messages:
        coco(categories=sides, pipeline=flip).full_init()
        (said,) = [line for line in messages if 'RandomFlip' in line]
        assert 'coco.json: RandomFlip mirrors' in said and "'left_shoe'" in said
        del messages[:]
        coco(categories=sides, pipeline=flip, test_mode=True)
        coco(pipeline=flip)
        coco(categories=sides, pipeline=[dict(type='CaptionFlip', prob=0.5)])
    assert not any('mirrors' in line for line in messages)


NAMES = {3: 'dog', 5: 'cat', 9: 'bat_(animal)'}
BOXES = [box(1, 1, [10, 20, 30, 40], 9), box(2, 1, [0, 0, 5, 5], 3), box(3, 2, [50, 50, 20, 20], 9)]
FAULTY = [
    box(4, 1, [10, 10, 0.5, 20], 3),
    box(5, 2, [10, 10, 20, 0], 3),
    box(6, 2, [120, 10, 20, 20], 3),
    box(7, 2, [10, -30, 20, 30], 9),
]


@pytest.fixture
def coco(tmp_path):
    """``coco(...)``: the dataset on a file of two images (and a third without boxes)."""

    def coco(annotations=BOXES, categories=NAMES, **kwargs):
        path = write(
            tmp_path / 'coco.json', [image(1), image(2), image(3)], annotations, categories
        )
        defaults = dict(data_prefix=dict(img='images/'), pipeline=[])
        return PromptCocoDataset(ann_file=path, **{**defaults, **kwargs})

    return coco


def named_boxes(dataset, index):
    """Boxes of a sample with the names their labels have in its own text."""
    info = dataset.get_data_info(index)
    return {(info['text'][i['bbox_label']], *i['bbox']) for i in info['instances']}


def test_classes_come_from_the_file(coco):
    dataset = coco()
    assert dataset.metainfo['classes'] == ('dog', 'cat', 'bat_(animal)')
    assert named_boxes(dataset, 0) == {('bat_(animal)', 10, 20, 40, 60), ('dog', 0, 0, 5, 5)}
    info = dataset.get_data_info(0)
    assert tuple(info['text']) == dataset.metainfo['classes']
    assert info['custom_entities'] is True and info['caption_prompt'] is None
    assert info['img_path'] == 'images/1.jpg' and info['img_id'] == 1
    assert len(dataset) == 3 and dataset.get_data_info(2)['instances'] == []


def test_a_choice_of_classes(coco):
    dataset = coco(metainfo=dict(classes=('dog', 'bat_(animal)')))
    assert dataset.metainfo['classes'] == ('dog', 'bat_(animal)')
    assert named_boxes(dataset, 1) == {('bat_(animal)', 50, 50, 70, 70)}
    assert [i['bbox_label'] for i in dataset.get_data_info(1)['instances']] == [1]


@pytest.mark.parametrize(
    'change',
    [
        dict(categories={9: 'bat_(animal)', 3: 'dog', 5: 'cat'}),
        dict(metainfo=dict(classes=('bat_(animal)', 'dog'))),
    ],
    ids=['file not in the order of ids', 'classes not in the order of the file'],
)
def test_labels_and_text_agree_in_any_order(coco, change):
    dataset = coco(**change)
    assert named_boxes(dataset, 0) == {('bat_(animal)', 10, 20, 40, 60), ('dog', 0, 0, 5, 5)}


def test_classes_that_the_file_lacks_are_an_error(coco):
    with pytest.raises(
        ValueError,
        match=r"coco\.json has no category 'person', 'Dog'; its "
        r'categories are dog, cat, bat_\(animal\)',
    ):
        coco(metainfo=dict(classes=('person', 'cat', 'Dog')))


def test_annotated_only_leaves_out_what_is_never_positive(coco):
    dataset = coco(annotated_only=True)
    assert dataset.metainfo['classes'] == ('dog', 'bat_(animal)')
    assert named_boxes(dataset, 0) == {('bat_(animal)', 10, 20, 40, 60), ('dog', 0, 0, 5, 5)}


def test_caption_prompt(coco):
    words = {'dog': dict(prefix='a ')}
    assert coco(caption_prompt=words).get_data_info(0)['caption_prompt'] == words
    with pytest.raises(ValueError, match="caption_prompt names 'puppy', which are not classes"):
        coco(caption_prompt={'puppy': {}, **words})


def test_faulty_boxes_are_dropped_and_counted(coco, warnings):
    dataset = coco(BOXES + FAULTY)
    assert [len(dataset.get_data_info(i)['instances']) for i in range(3)] == [2, 1, 0]
    assert "1 of 3 categories have no annotation ('cat')" in warnings[0] and len(warnings) == 2
    assert warnings[1].endswith('coco.json: dropped 4 boxes (2 outside the image, 2 zero size)')


def test_good_boxes_are_not_logged(coco, warnings):
    coco(annotated_only=True)
    assert warnings == []


def test_images_without_boxes_are_filtered_in_training_only(coco):
    cfg = dict(filter_cfg=dict(filter_empty_gt=True))
    assert len(coco(**cfg)) == 2 and len(coco(test_mode=True, **cfg)) == 3


@pytest.mark.parametrize(
    'bbox, expected',
    [
        ([0, 0, 1, 1], None),
        ([-5, -5, 20, 20], None),
        ([99, 79, 50, 50], None),
        ([10, 10, 0.9, 20], 'zero size'),
        ([10, 10, 20, -3], 'zero size'),
        ([100, 10, 5, 5], 'outside the image'),
        ([10, 80, 5, 5], 'outside the image'),
        ([-5, 10, 5, 5], 'outside the image'),
    ],
)
def test_what_is_wrong_with_a_box(bbox, expected):
    assert box_fault(bbox, width=100, height=80) == expected


# -------------------------------------------------------------------- captions
CAPTION = 'a dog beside a dog and a sea'
DOG, OTHER_DOG, SEA = [[2, 5]], [[15, 18]], [[25, 28]]


def grounding(tmp_path, annotations, **kwargs):
    record = image(1, caption=CAPTION, tokens_positive_eval=[DOG, OTHER_DOG, SEA])
    path = write(
        tmp_path / 'grounding.json', [record, image(2, caption='nothing here')], annotations
    )
    return MDETRGroundingDataset(
        ann_file=path, data_prefix=dict(img='images/'), pipeline=[], **kwargs
    )


LINKED = [
    box(1, 1, [10, 20, 30, 40], tokens_positive=DOG, phrase_ids=[0]),
    box(2, 1, [50, 20, 30, 40], tokens_positive=OTHER_DOG, phrase_ids=[1]),
    box(3, 1, [0, 0, 20, 20], tokens_positive=[*DOG, *OTHER_DOG], phrase_ids=[0, 1]),
]
UNUSABLE = [
    box(4, 1, [10, 20, 0, 40], tokens_positive=DOG, phrase_ids=[0]),
    box(5, 1, [200, 20, 10, 40], tokens_positive=DOG, phrase_ids=[0]),
    box(6, 1, [10, 20, 10, 40], tokens_positive=[], phrase_ids=[1]),
]


def test_training_captions(tmp_path, warnings):
    dataset = grounding(tmp_path, LINKED)
    info = dataset.get_data_info(0)
    assert info['text'] == CAPTION and info['img_path'] == 'images/1.jpg'
    assert (info['height'], info['width'], info['img_id']) == (80, 100, 1)
    # every annotation is a phrase, so equal words at two places are two labels
    assert info['tokens_positive'] == [DOG, OTHER_DOG, [*DOG, *OTHER_DOG]]
    assert [i['bbox_label'] for i in info['instances']] == info['phrase_ids'] == [0, 1, 2]
    assert info['instances'][0]['bbox'] == [10, 20, 40, 60]
    assert all(i['ignore_flag'] == 0 for i in info['instances'])
    assert dataset.get_data_info(1)['instances'] == [] and warnings == []


def test_evaluated_captions(tmp_path):
    info = grounding(tmp_path, LINKED, test_mode=True).get_data_info(0)
    assert info['tokens_positive'] == [DOG, OTHER_DOG, SEA]  # the sea is evaluated without a box
    found = [(i['bbox_label'], i['bbox']) for i in info['instances']]
    assert found == [
        (0, [10, 20, 40, 60]),
        (1, [50, 20, 80, 60]),
        (0, [0, 0, 20, 20]),
        (1, [0, 0, 20, 20]),
    ]
    assert info['phrase_ids'] == [0, 1, 0, 1]


def test_evaluation_without_phrases_of_its_own_takes_those_of_training(tmp_path):
    record = image(1, caption=CAPTION)
    path = write(
        tmp_path / 'refexp.json', [record], [box(1, 1, [10, 20, 30, 40], tokens_positive=DOG)]
    )
    dataset = MDETRGroundingDataset(
        ann_file=path, data_prefix=dict(img=''), pipeline=[], test_mode=True
    )
    info = dataset.get_data_info(0)
    assert info['tokens_positive'] == [DOG] and info['phrase_ids'] == [0]


def test_unusable_annotations_are_dropped_and_counted(tmp_path, warnings):
    info = grounding(tmp_path, UNUSABLE[:1] + LINKED + UNUSABLE[1:]).get_data_info(0)
    assert info['tokens_positive'] == [DOG, OTHER_DOG, [*DOG, *OTHER_DOG]]
    assert info['phrase_ids'] == [0, 1, 2]
    assert warnings[0].endswith(
        'grounding.json: dropped 3 boxes (1 outside the image, 1 without a span, 1 zero size)'
    )


def test_captions_without_boxes(tmp_path):
    def count(**kwargs):
        return len(grounding(tmp_path, LINKED, **kwargs))

    drop = dict(filter_cfg=dict(filter_empty_gt=True))
    assert (count(), count(**drop)) == (2, 1)
    assert count(test_mode=True, **drop) == 1  # the other has no phrase


def test_generated_captions_through_the_real_pipeline(tiny_scenes):
    """Boxes, labels and spans of a sample as the model gets it belong together."""
    keys = ('img_id', 'text', 'tokens_positive', 'scale_factor', 'img_shape')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='MDETRGroundingDataset',
                data_root=str(tiny_scenes),
                ann_file='annotations/grounding_train.json',
                data_prefix=dict(img='images/train/'),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='PackDetInputs', meta_keys=keys),
                ],
            )
        )
        assert len(dataset) > 12
        item = dataset[0]
    record = json.loads((tiny_scenes / 'annotations/grounding_train.json').read_text())
    anns = [a for a in record['annotations'] if a['image_id'] == record['images'][0]['id']]
    sample = item['data_samples']
    assert item['inputs'].shape == (3, 256, 256) and item['inputs'].dtype == torch.uint8
    assert sample.text == record['images'][0]['caption']
    spans = {}
    for ann in anns:
        spans.setdefault(tuple(ann['bbox']), []).extend(ann['tokens_positive'])
    assert len(sample.gt_instances) == len(spans)
    for (x, y, w, h), bbox, label in zip(
        spans, sample.gt_instances.bboxes.tensor, sample.gt_instances.labels
    ):
        torch.testing.assert_close(bbox, torch.tensor([x, y, x + w, y + h]))
        assert sample.tokens_positive[label] == spans[x, y, w, h]


def test_box_of_two_phrases_is_one_box_with_both_spans(tmp_path):
    path = write(
        tmp_path / 'twice.json',
        [image(1, caption=CAPTION)],
        [
            box(1, 1, [10, 20, 30, 40], tokens_positive=DOG),
            box(2, 1, [10, 20, 30, 40], tokens_positive=OTHER_DOG),
        ],
    )
    info = MDETRGroundingDataset(
        ann_file=path, data_prefix=dict(img='images/'), pipeline=[]
    ).get_data_info(0)
    assert info['tokens_positive'] == [[*DOG, *OTHER_DOG]] and len(info['instances']) == 1


# --------------------------------------------------------------------- images
def one_image_dataset(coco, tmp_path, content=None):
    """A dataset whose first image is the file ``content``, or missing."""
    if content is not None:
        (tmp_path / '1.jpg').write_bytes(content)
    return coco(
        data_prefix=dict(img=str(tmp_path)),
        pipeline=[
            dict(
                type='LoadImageFromFile',
                imdecode_backend='pillow',
                color_type='color_ignore_orientation',
            )
        ],
    )


def test_missing_image_is_named(coco, tmp_path):
    with pytest.raises(OSError, match=r'no image .*1\.jpg: check data_root and data_prefix'):
        one_image_dataset(coco, tmp_path)[0]


def half_an_image():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, 'jpeg')
    return file.getvalue()[:2000]


@pytest.mark.parametrize(
    'content', [b'', b'not an image', b'\xff\xd8\xff\xe0 cut', half_an_image()]
)
def test_corrupt_image_is_named(coco, tmp_path, content):
    with pytest.raises(OSError, match=r'cannot read .*1\.jpg as an image'):
        one_image_dataset(coco, tmp_path, content)[0]


def test_exif_orientation_is_ignored(coco, tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6  # rotated by a quarter
    file = io.BytesIO()
    Image.new('RGB', (7, 5)).save(file, 'jpeg', exif=tag)
    assert one_image_dataset(coco, tmp_path, file.getvalue())[0]['img'].shape == (5, 7, 3)
