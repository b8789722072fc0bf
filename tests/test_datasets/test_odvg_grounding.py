"""ODVG files: categories and captions of one file, as FIBER trains on them."""

import json

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets import GroundingODVGDataset, MDETRGroundingDataset

LABELS = {'0': 'cat', '2': 'dog', '10': 'bat_(animal)'}


def line(**fields):
    return dict(filename='a.jpg', height=48, width=64, **fields)


def detection(*instances):
    return line(
        detection=dict(
            instances=[dict(bbox=bbox, label=label, category='?') for bbox, label in instances]
        )
    )


def grounding(caption, *regions):
    return line(
        grounding=dict(
            caption=caption,
            regions=[dict(bbox=bbox, phrase='?', tokens_positive=spans) for bbox, spans in regions],
        )
    )


def read(tmp_path, *lines, labels=LABELS, **kwargs):
    (tmp_path / 'odvg.jsonl').write_text(
        '\n'.join(item if isinstance(item, str) else json.dumps(item) for item in lines)
    )
    if labels:
        (tmp_path / 'labels.json').write_text(json.dumps(labels))
        kwargs['label_map_file'] = 'labels.json'
    return GroundingODVGDataset(
        data_root=str(tmp_path),
        ann_file='odvg.jsonl',
        pipeline=[],
        data_prefix=dict(img='images'),
        **kwargs,
    )


def test_categories_become_a_list_of_names(tmp_path):
    dataset = read(tmp_path, detection(([1, 2, 30, 40], 10), ([5, 5, 9, 9], 0)), line())
    assert dataset.metainfo['classes'] == ('cat', 'dog', 'bat_(animal)')
    info = dataset[0]
    assert tuple(info['text']) == ('cat', 'dog', 'bat_(animal)')
    assert info['custom_entities'] is True and info['caption_prompt'] is None
    assert [(i['bbox'], i['bbox_label']) for i in info['instances']] == [
        ([1, 2, 30, 40], 2),
        ([5, 5, 9, 9], 0),
    ]
    assert info['img_path'] == f'{tmp_path}/images/a.jpg' and info['dataset_mode'] == 'OD'
    assert dataset[1]['instances'] == []
    silent = read(tmp_path, detection(), need_text=False)
    assert 'text' not in silent[0] and silent.metainfo['classes'] == ('cat', 'dog', 'bat_(animal)')


def test_both_kinds_of_lines_in_one_file(tmp_path):
    dataset = read(
        tmp_path, detection(([1, 2, 30, 40], 2)), grounding('A Dog. ', ([1, 2, 30, 40], [[0, 5]]))
    )
    assert [dataset[i]['dataset_mode'] for i in range(2)] == ['OD', 'VG']
    assert dataset[1]['text'] == 'A Dog. ' and 'custom_entities' not in dataset[1]


def test_phrases_without_spans_are_found(tmp_path):
    data = grounding('a dog and a red dog', ([1, 2, 30, 40], [[16, 19]]))
    regions = data['grounding']['regions']
    regions.append(dict(bbox=[1, 2, 9, 9], phrase='Dog'))
    info = read(tmp_path, data)[0]
    assert info['tokens_positive'] == [[[16, 19]], [[2, 5], [16, 19]]]
    for region, message in [
        (dict(phrase='cat'), "'cat' does not occur"),
        (dict(), "no 'phrase'.*'tokens_positive', or a 'phrase'"),
        (dict(phrase=3), 'has phrase 3'),
    ]:
        regions[1] = dict(bbox=[1, 2, 9, 9], **region)
        with pytest.raises(ValueError, match=f'line 1: region.* 1.*{message}'):
            read(tmp_path, data)


ONE, TWO, THREE = [1, 1, 10, 10], [20, 1, 30, 10], [1, 20, 10, 40]
CAPTION = 'a dog, a dog and dogs'
REGIONS = [(ONE, [[0, 5]]), ([TWO], [[7, 12]]), ([ONE, TWO, THREE], [[17, 21]])]


def test_regions_are_phrases(tmp_path):
    info = read(tmp_path, grounding(CAPTION, *REGIONS), labels=None)[0]
    assert info['text'] == CAPTION
    assert [i['bbox'] for i in info['instances']] == [ONE, TWO, THREE]
    spans = [info['tokens_positive'][i['bbox_label']] for i in info['instances']]
    assert spans == [[[0, 5], [17, 21]], [[7, 12], [17, 21]], [[17, 21]]]
    # the boxes of one region share its label
    info = read(
        tmp_path, grounding(CAPTION, ([ONE, TWO], [[17, 21]]), (THREE, [[0, 5]])), labels=None
    )[0]
    assert info['phrase_ids'] == [0, 0, 1] and info['tokens_positive'] == [[[17, 21]], [[0, 5]]]


def test_evaluated_regions(tmp_path):
    info = read(
        tmp_path,
        grounding(CAPTION, *REGIONS, ([1, 1, 1, 9], [[5, 6]])),
        labels=None,
        test_mode=True,
    )[0]
    assert info['tokens_positive'] == [[[0, 5]], [[7, 12]], [[17, 21]], [[5, 6]]]
    assert [(i['bbox'], i['bbox_label']) for i in info['instances']] == [
        (ONE, 0),
        (ONE, 2),
        (TWO, 1),
        (TWO, 2),
        (THREE, 2),
    ]


def test_faulty_boxes_are_counted(tmp_path, warnings):
    dataset = read(
        tmp_path,
        detection(([1, 2, 1.5, 40], 2), ([70, 2, 80, 40], 2), (ONE, 2)),
        grounding(CAPTION, ([ONE, [3, 3, 3, 9]], [[0, 5]]), (TWO, [])),
    )
    assert [len(dataset[i]['instances']) for i in range(2)] == [1, 1]
    assert warnings[0].endswith(
        'odvg.jsonl: dropped 4 boxes (1 outside the image, 1 without a span, 2 zero size)'
    )


def test_images_without_boxes_can_be_left_out_of_training(tmp_path):
    lines = [detection(), detection((ONE, 2))]
    drop = dict(filter_cfg=dict(filter_empty_gt=True))
    assert [
        len(read(tmp_path, *lines, **kwargs)) for kwargs in ({}, drop, dict(drop, test_mode=True))
    ] == [2, 1, 2]


@pytest.mark.parametrize(
    'item, labels, message',
    [
        (
            detection((ONE, 2)),
            None,
            r"odvg\.jsonl, line 2 has no 'grounding'. If it is detection data",
        ),
        (detection((ONE, 1)), LABELS, r'line 2: label 1 has no name in the label map'),
        (
            detection(([9, 9, 1, 1], 2)),
            LABELS,
            r'line 2: instance 0 has bbox \[9, 9, 1, 1\]: it must be x1, y1, x2, y2',
        ),
        (dict(grounding={}), LABELS, r"line 2 has no 'filename', 'height', 'width' .* add it"),
        (line(grounding=dict(caption='a dog')), None, r"line 2: 'grounding' has no 'regions'"),
        ('{"filename": ', LABELS, r'odvg\.jsonl, line 2 is not json .Expecting value'),
    ],
)
def test_faulty_lines_are_named(tmp_path, item, labels, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, grounding(CAPTION, *REGIONS), item, labels=labels)


def test_generated_captions_are_those_of_the_mdetr_file(tiny_scenes):
    """Both files hold the same captions; regions and annotations lead to the same boxes."""
    kwargs = dict(data_root=str(tiny_scenes), data_prefix=dict(img='images/train/'), pipeline=[])
    odvg = GroundingODVGDataset(ann_file='annotations/odvg_train.jsonl', **kwargs)
    mdetr = MDETRGroundingDataset(ann_file='annotations/grounding_train.json', **kwargs)
    assert len(odvg) == len(mdetr) > 12

    def contents(info):
        boxes = {
            tuple(round(v, 2) for v in i['bbox']): sorted(info['tokens_positive'][i['bbox_label']])
            for i in info['instances']
        }
        return {key: info[key] for key in ('img_path', 'text', 'width', 'height')}, boxes

    for i in range(len(odvg)):
        assert contents(odvg.get_data_info(i)) == contents(mdetr.get_data_info(i))


def test_through_the_real_pipeline(tiny_scenes):
    keys = ('text', 'tokens_positive')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='GroundingODVGDataset',
                data_root=str(tiny_scenes),
                ann_file='annotations/odvg_train.jsonl',
                data_prefix=dict(img='images/train/'),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='PackDetInputs', meta_keys=keys),
                ],
            )
        )
        item = dataset[0]
    info = dataset.get_data_info(0)
    sample = item['data_samples']
    assert item['inputs'].dtype == torch.uint8 and sample.text == info['text']
    assert sample.gt_instances.labels.tolist() == info['phrase_ids']
    assert sample.tokens_positive == info['tokens_positive']
