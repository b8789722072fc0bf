"""COCO-style files: one error names the file and the record."""

import json
import re

import pytest

from coco_json import box, image, write_json
from fiber_mmdet.datasets import MDETRGroundingDataset, PromptCocoDataset
from fiber_mmdet.datasets.detection.coco_file import open_coco

BOX = [10, 10, 20, 20]


def read(tmp_path, images, annotations, categories=None, **kwargs):
    path = write_json(tmp_path / 'set.json', images, annotations, categories)
    return open_coco(path, 'set.json', **kwargs)


def without(record, *fields):
    return {key: value for key, value in record.items() if key not in fields}


@pytest.mark.parametrize(
    'images, annotations, message',
    [
        (
            [image(1)],
            [box(7, 1, BOX, 4)],
            'set.json: annotation 7 has category_id 4, which is not among its categories',
        ),
        (
            [image(1)],
            [box(7, 2, BOX)],
            'set.json: annotation 7 belongs to image 2, which is not among',
        ),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(bbox=[1, 2, 3])],
            'set.json: annotation 7 has bbox [1, 2, 3]: it must be four numbers',
        ),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(bbox=[1, 2, 3, -4])],
            'set.json: annotation 7 has bbox [1, 2, 3, -4]: it must be four numbers',
        ),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(bbox=[1, float('nan'), 3, 4])],
            'annotation 7 has bbox',
        ),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(bbox=[1, 2, 3, float('nan')])],
            'annotation 7 has bbox',
        ),
        ([image(1)], [box(7, 1, BOX) | dict(bbox=['a', 2, 3, 4])], "annotation 7 has bbox ['a', 2"),
        ([image(1)], [box(7, 1, BOX) | dict(bbox=None)], 'annotation 7 has bbox None'),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(bbox=['10', '10', '30', '30'])],
            "annotation 7 has bbox ['10', '10', '30', '30']: it must be four numbers",
        ),
        *(
            ([image(1)], [box(7, 1, BOX) | dict(area=area)], f'annotation 7 has area {area!r}: it')
            for area in ([900], '900', True, {}, float('nan'))
        ),
        *(
            ([image(1)], [box(7, 1, BOX) | dict(iscrowd=flag)], f'7 has iscrowd {flag!r}: it must')
            for flag in ('0', 2, 0.5, [0])
        ),
        (
            [image(1)],
            [box(7, 1, BOX) | dict(image_id='1')],
            "'1', which is not among its images (it",
        ),
        (
            [image(1)],
            [box(7, 1, BOX, '1')],
            "category_id '1', which is not among its categories (it",
        ),
        (
            [image(1)],
            [box(7, 1, BOX), box(7, 1, BOX)],
            'set.json: 2 annotations have the id 7: num',
        ),
        ([image(1)], [box(True, 1, BOX)], 'set.json: annotation number 0 has id True'),
        ([image(1), image('b')], [], "the id of some images is text ('b'), of others a number (1)"),
        ([image(1) | dict(file_name=None)], [], 'set.json: image 1 has file_name None'),
        ([image(1) | dict(file_name='a\0b')], [], r"set.json: image 1 has file_name 'a\x00b'"),
        ([5], [], "set.json: image number 0 is 5: it must be an object with 'id'"),
        ([image(1)], ['box'], "set.json: annotation number 0 is 'box'"),
        ([image(1)], [without(box(7, 1, BOX), 'id')], "set.json: annotation number 0 has no 'id'"),
        ([without(image(3), 'width', 'height')], [], "set.json: image 3 has no 'height', 'width'"),
        (
            [image(3) | dict(width=None)],
            [],
            'set.json: image 3 has width None: it must be a number of pixels',
        ),
        ([image(3), image(4), image(3)], [], 'set.json: 2 images have the id 3'),
    ],
)
def test_one_error_names_file_record_and_remedy(tmp_path, images, annotations, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path, images, annotations)


@pytest.mark.parametrize(
    'content, message',
    [
        ('{"images": [', 'set.json is not a json file'),
        ('[1, 2]', "set.json holds a list, not a COCO-style object with 'images'"),
        ('{"images": [], "categories": []}', "set.json has no list 'annotations'"),
        ('{"images": [], "annotations": []}', "set.json has no list 'categories'"),
    ],
)
def test_files_of_another_kind(tmp_path, content, message):
    (tmp_path / 'set.json').write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_coco(str(tmp_path / 'set.json'), 'set.json')


def test_a_sound_file_is_indexed(tmp_path, warnings):
    coco = read(tmp_path, [image(1), image(2)], [box(7, 2, BOX), box(8, 2, BOX)])
    assert [a['id'] for a in coco.img_ann_map[2]] == [7, 8] and coco.get_cat_ids() == [1]
    assert coco.cat_img_map[1] == [2, 2] and warnings == []


def test_test_files_may_lack_annotations(tmp_path):
    path = tmp_path / 'set.json'
    path.write_text(json.dumps(dict(images=[image(1)], categories=[dict(id=1, name='cat')])))
    dataset = PromptCocoDataset(
        ann_file=str(path), data_prefix=dict(img=''), pipeline=[], test_mode=True
    )
    assert len(dataset) == 1 and dataset.metainfo['classes'] == ('cat',)
    with pytest.raises(ValueError, match="no list 'annotations'"):
        PromptCocoDataset(ann_file=str(path), data_prefix=dict(img=''), pipeline=[])


def test_sizes_written_as_text_are_numbers(tmp_path):
    coco = read(tmp_path, [image(1) | dict(width='64', height='48')], [])
    assert coco.imgs[1]['width'] == 64 and coco.imgs[1]['height'] == 48


def test_corners_given_for_sizes_are_suspected(tmp_path, warnings):
    corners = [
        [30, 20, 50, 40],
        [40, 10, 60, 30],
        [20, 25, 45, 45],
        [5, 30, 40, 47],
        [33, 1, 60, 9],
    ]
    read(tmp_path, [image(1)], [box(i, 1, bbox) for i, bbox in enumerate(corners, 1)])
    (line,) = warnings
    assert line.startswith('set.json: 5 of 5 boxes') and 'x, y, width, height' in line
    read(
        tmp_path,
        [image(1)],
        [box(i, 1, [x, y, x2 - x, y2 - y]) for i, (x, y, x2, y2) in enumerate(corners, 1)],
    )
    assert len(warnings) == 1


def test_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match='no file set.json: check the path; in a dataset, that is data_root'
    ):
        open_coco(str(tmp_path / 'set.json'), 'set.json')


def test_annotation_0_is_pointed_at(tmp_path, warnings):
    read(tmp_path, [image(1)], [box(1, 1, BOX), box(2, 1, BOX)])
    assert warnings == []
    read(tmp_path, [image(1)], [box(0, 1, BOX), box(1, 1, BOX)])
    assert 'set.json: an annotation has the id 0' in warnings[0]


def test_captions_need_no_categories(tmp_path):
    path = tmp_path / 'set.json'
    path.write_text(
        json.dumps(
            dict(
                images=[image(1, caption='a dog')],
                categories=[],
                annotations=[
                    without(box(7, 1, BOX, tokens_positive=[[2, 5]]), 'category_id', 'area')
                ],
            )
        )
    )
    kwargs = dict(ann_file=str(path), data_prefix=dict(img=''), pipeline=[])
    assert len(MDETRGroundingDataset(**kwargs)[0]['instances']) == 1
    path.write_text(json.dumps(dict(images=[image(1)], annotations=[])))
    with pytest.raises(ValueError, match="set.json: image 1 has no 'caption'"):
        MDETRGroundingDataset(**kwargs)


@pytest.mark.parametrize('area', [dict(area=0), dict(area=None), dict(area=-1), {}])
def test_boxes_without_area_have_that_of_the_box(tmp_path, warnings, area):
    record = without(box(7, 1, BOX), 'area') | area
    path = write_json(tmp_path / 'set.json', [image(1)], [record])
    dataset = PromptCocoDataset(ann_file=path, data_prefix=dict(img=''), pipeline=[])
    assert dataset[0]['instances'][0]['bbox'] == [10, 10, 30, 30]
    assert '1 of 1 annotations have no area above 0: width x height' in warnings[0]
    assert read(tmp_path, [image(1)], [record]).anns[7]['area'] == 400


def test_categories_of_one_name(tmp_path):
    def names(categories, annotations=(), **kwargs):
        path = write_json(tmp_path / 'set.json', [image(1)], list(annotations), categories)
        return PromptCocoDataset(
            ann_file=path, data_prefix=dict(img=''), pipeline=[], **kwargs
        ).metainfo['classes']

    twice = {0: 'cat', 1: 'dog', 2: 'cat'}
    with pytest.raises(ValueError, match=r"set\.json has two categories named 'cat': rename one"):
        names(twice)
    assert names(twice, metainfo=dict(classes=('dog',))) == ('dog',)
    with pytest.raises(ValueError, match=r'set\.json has no category to ask for'):
        names({1: 'dog'}, annotated_only=True)
