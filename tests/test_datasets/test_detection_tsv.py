"""Objects365 as tsv files: rows, images, classes, workers."""

import base64
import json
import multiprocessing
import pickle

import numpy as np
import pytest
import yaml
from mmengine.registry import DefaultScope

from coco_json import write_image
from fiber_mmdet.datasets import DetectionTSVDataset
from fiber_mmdet.datasets.detection.tsv import TSVFile

LABEL_MAP = {'Sneakers': 2, 'Person': 1, 'Chair': 3}
OBJECTS = [
    [
        {'class': 'Sneakers', 'rect': [10, 20, 29, 39]},
        {'class': 'Person', 'rect': [0, 0.5, 63, 47]},
    ],
    [{'class': 'Chair', 'rect': [5, 5, 9, 9]}, {'class': 'Person', 'rect': [70, 5, 90, 9]}],
    [],
]


@pytest.fixture
def make(tmp_path):
    """``make(...)`` writes the files with what is given in place of some rows; the yaml's path."""

    def make(label=None, hw=None, img=None, **spec):
        images = []
        for i in range(3):
            write_image(tmp_path / 'one.jpg', i)
            images.append(base64.b64encode((tmp_path / 'one.jpg').read_bytes()).decode())
        keys = ['100', '200', 'x300']
        img = img or [f'{key}\t{image}' for key, image in zip(keys, images)]
        label = label or [f'{key}\t{json.dumps(o)}' for key, o in zip(keys, OBJECTS)]
        hw = hw or [
            '100\t[{"height": 48, "width": 64}]',
            '200\t48 64',
            'x300\t{"height": 48, "width": 64}',
        ]
        for name, rows in (('img', img), ('label', label), ('hw', hw)):
            (tmp_path / f'train.{name}.tsv').write_text(''.join(f'{row}\n' for row in rows))
        (tmp_path / 'map.json').write_text(json.dumps(dict(label_to_idx=LABEL_MAP)))
        names = dict(
            img='train.img.tsv', label='train.label.tsv', hw='train.hw.tsv', labelmap='map.json'
        )
        (tmp_path / 'train.yaml').write_text(
            yaml.safe_dump({k: v for k, v in {**names, **spec}.items() if v is not None})
        )
        return tmp_path / 'train.yaml'

    return make


def read(path, **kwargs):
    return DetectionTSVDataset(ann_file=str(path), pipeline=[], **kwargs)


def test_records(make):
    dataset = read(make())
    assert len(dataset) == 3 and dataset.metainfo['classes'] == ('Person', 'Sneakers', 'Chair')
    info = dataset[0]
    # rect as it is: inclusive
    assert info['instances'] == [
        dict(bbox=[10, 20, 29, 39], bbox_label=1, ignore_flag=0),
        dict(bbox=[0, 0.5, 63, 47], bbox_label=0, ignore_flag=0),
    ]
    assert tuple(info['text']) == ('Person', 'Sneakers', 'Chair')
    assert info['custom_entities'] is True and info['caption_prompt'] is None
    assert (info['img_id'], info['height'], info['width'], info['sample_idx']) == (100, 48, 64, 0)
    assert [i['bbox_label'] for i in dataset[1]['instances']] == [2]  # the other is outside
    assert dataset[2]['instances'] == [] and dataset[2]['img_id'] == 'x300'
    assert dataset.get_cat_ids(0) == [1, 0]


def test_rows_may_be_listed_more_than_once(make, tmp_path):
    (tmp_path / 'lines').write_text('1\n1\n0\n')
    dataset = read(make(linelist='lines'))
    assert [dataset[i]['img_id'] for i in range(len(dataset))] == [200, 200, 100]
    (tmp_path / 'lines').write_text('1\n3\n')
    with pytest.raises(ValueError, match='lines, line 2 lists row 3, but there are 3'):
        read(make(linelist='lines'))


@pytest.mark.parametrize(
    'content, spec',
    [
        (json.dumps(LABEL_MAP), dict(labelmap='m.json')),
        (json.dumps(LABEL_MAP), dict(labelmap=None, jsondict='m.json')),
        ('Person\nSneakers\nChair\n', dict(labelmap='m.tsv')),
    ],
)
def test_forms_of_the_label_map(make, tmp_path, content, spec):
    (tmp_path / next(name for name in spec.values() if name)).write_text(content)
    assert read(make(**spec)).metainfo['classes'] == ('Person', 'Sneakers', 'Chair')


def test_background_on_demand(make):
    dataset = read(make(), keep_background=True)
    assert dataset.metainfo['classes'] == ('__background__', 'Person', 'Sneakers', 'Chair')
    info = dataset[0]
    assert [info['text'][i['bbox_label']] for i in info['instances']] == ['Sneakers', 'Person']


def test_a_choice_of_classes(make):
    dataset = read(make(), metainfo=dict(classes=('Chair', 'Person')))
    assert [i['bbox_label'] for i in dataset[0]['instances']] == [0]
    with pytest.raises(ValueError, match=r"train\.yaml has no category 'chair'"):
        read(make(), metainfo=dict(classes=('chair',)))
    with pytest.raises(ValueError, match="caption_prompt names 'Sofa'"):
        read(make(), caption_prompt={'Sofa': {}})


def test_images_without_boxes_can_be_left_out_of_training(make):
    drop = dict(filter_cfg=dict(filter_empty_gt=True))
    assert len(read(make(), **drop)) == 2 and len(read(make(), test_mode=True, **drop)) == 3


# ------------------------------------------------------------------- images
PIPELINE = [
    dict(type='LoadImageFromTSV'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='InclusiveBoxes', already_inclusive=True),
]


def with_images(path, **kwargs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DetectionTSVDataset(ann_file=str(path), pipeline=PIPELINE, **kwargs)


def test_images_are_decoded(make, tmp_path):
    dataset = with_images(make())
    for i in (2, 0, 1):
        results = dataset[i]
        expected = write_image(tmp_path / 'same.jpg', i)
        assert (results['img'] == expected[..., ::-1]).all()  # BGR
        assert results['img_shape'] == results['ori_shape'] == (48, 64)
    # the boxes that the model is trained on are rect
    boxes = dataset[0]['gt_bboxes'].tensor.tolist()
    assert boxes == [[10, 20, 29, 39], [0, 0.5, 63, 47]]


def test_float_images(make):
    from fiber_mmdet.datasets import LoadImageFromTSV

    info = read(make())[0]
    loader = LoadImageFromTSV(to_float32=True)
    assert loader(info)['img'].dtype == np.float32 and 'to_float32=True' in repr(loader)


@pytest.mark.parametrize(
    'image, message',
    [
        ('100\t!!!', r'cannot read .*train\.img\.tsv#100 as an image \(not base64'),
        ('100\t' + base64.b64encode(b'no image').decode(), r'cannot read .*#100 as an image'),
        ('101\tAAAA', r"#100 as an image \(.*'101'"),
    ],
)
def test_unreadable_images_are_named(make, image, message):
    path = make(img=[image, '200\tAAAA', 'x300\tAAAA'])
    with pytest.raises(OSError, match=message):
        with_images(path)[0]


def sums(dataset, indices, queue):
    queue.put([int(dataset[i]['img'].sum()) for i in indices])


def test_processes_do_not_share_a_position_in_the_files(make):
    dataset = with_images(make())
    expected = [int(dataset[i]['img'].sum()) for i in range(3)]  # files are open now
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    order = [0, 1, 2] * 20
    workers = [context.Process(target=sums, args=(dataset, order, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [[expected[i] for i in order]] * 2


def test_dataset_can_be_sent_to_another_process(make):
    dataset = with_images(make())
    before = dataset[1]
    after = pickle.loads(pickle.dumps(dataset))[1]
    assert (before['img'] == after['img']).all()


# -------------------------------------------------------------------- rows
def test_index_beside_the_file_is_used(tmp_path):
    path = tmp_path / 'a.b.tsv'
    path.write_text('k1\tgrün\nk2\tb\nk3\tc', encoding='utf-8')
    assert [TSVFile(path)[i] for i in range(3)] == [['k1', 'grün'], ['k2', 'b'], ['k3', 'c']]
    (tmp_path / 'a.b.lineidx').write_text('0\n14\n')
    tsv = TSVFile(path)
    assert len(tsv) == 2 and tsv[1] == ['k3', 'c']
    with pytest.raises(IndexError, match='has 2 rows, but row 2 was requested'):
        tsv[2]
    (tmp_path / 'a.b.lineidx').write_text('0\n1400\n')
    with pytest.raises(ValueError, match=r'a\.b\.lineidx lists more rows than'):
        TSVFile(path)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(img=['100\tAAAA']), 'must have equally many rows'),
        (
            dict(hw=['1\t48 64', '200\t48 64', 'x300\t48 64']),
            r"row 0: its key is '100', but that of .*'1'",
        ),
        (
            dict(label=['100\t[{"class": "Sofa", "rect": [1, 2, 3, 4]}]', '200\t[]', 'x300\t[]']),
            r"label\.tsv, row 0: class 'Sofa' is not in the label map of .*train\.yaml",
        ),
        (
            dict(label=['100\t[{"class": "Chair"}]', '200\t[]', 'x300\t[]']),
            r"label\.tsv, row 0: object 0 has no 'rect' ",
        ),
        (dict(hw_file=None, imageid2idx='a'), 'has imageid2idx'),
    ],
)
def test_files_that_do_not_belong_together(make, change, message):
    with pytest.raises(ValueError, match=message):
        read(make(**change))


def test_missing_files_are_named(make):
    with pytest.raises(ValueError, match=r"names other\.tsv as 'linelist', but there is no "):
        read(make(linelist='other.tsv'))
    with pytest.raises(ValueError, match=r"train\.yaml names no 'labelmap' file"):
        read(make(labelmap=None))


def test_mistakes_of_later_rows_are_named_when_read(make):
    dataset = read(
        make(
            label=[
                '100\t[]',
                '200\t{"objects": [{"class": "Chair", "rect": [1, 2, 3, 4]}]}',
                'x300\t[{"class": "Sofa", "rect": [1, 2, 3, 4]}]',
            ]
        )
    )
    assert dataset[1]['instances'][0]['bbox'] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"row 2: class 'Sofa'"):
        dataset[2]
