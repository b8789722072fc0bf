"""LVIS and Objects365: paths, classes and the order of labels."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric

from coco_json import box, image, write_json
from fiber_mmdet.datasets import PromptCocoDataset, PromptLVISDataset, PromptObjects365V2Dataset
from fiber_mmdet.text import PromptError, PromptTokenizer, category_prompt

BOX = [10, 10, 20, 20]
NAMES = {2: 'bow_(weapon)', 5: 'bow_(decorative_ribbons)', 9: 'bulldog'}


def lvis_image(number, **fields):
    record = image(
        number,
        coco_url=f'http://images.cocodataset.org/val2017/{number:012}.jpg',
        neg_category_ids=[2],
        not_exhaustive_category_ids=[9],
        **fields,
    )
    del record['file_name']  # the published files have none
    return record


def lvis(tmp_path, images, categories=NAMES, boxes=None, **kwargs):
    boxes = [box(1, 1, BOX, 9), box(2, 1, BOX, 2)] if boxes is None else list(boxes)
    path = write_json(tmp_path / 'lvis.json', images, boxes, categories)
    return PromptLVISDataset(
        ann_file=path, data_prefix=dict(img='data/coco/'), pipeline=[], **kwargs
    )


def test_lvis_images_are_found_by_their_address(tmp_path):
    info = lvis(tmp_path, [lvis_image(1), lvis_image(7)])[0]
    assert info['img_path'] == 'data/coco/val2017/000000000001.jpg'
    assert tuple(info['text']) == tuple(NAMES.values()) and info['custom_entities'] is True
    assert [i['bbox_label'] for i in info['instances']] == [2, 0]
    assert info['neg_category_ids'] == [2] and info['not_exhaustive_category_ids'] == [9]
    # a copy with names inserted, and one for training that has nothing else
    inserted = lvis_image(1) | dict(file_name='000000000001.jpg')
    assert lvis(tmp_path, [inserted])[0]['img_path'] == info['img_path']
    assert lvis(tmp_path, [image(1)])[0]['img_path'] == 'data/coco/1.jpg'


def test_lvis_is_checked_as_coco_is(tmp_path, warnings):
    with pytest.raises(ValueError, match=r"lvis\.json has no category 'bow'"):
        lvis(tmp_path, [lvis_image(1)], metainfo=dict(classes=('bow',)))
    dataset = lvis(
        tmp_path,
        [lvis_image(1)],
        annotated_only=True,
        boxes=[box(1, 1, BOX, 9), box(2, 1, [70, 1, 5, 5], 2)],
    )
    assert dataset.metainfo['classes'] == ('bow_(weapon)', 'bulldog')
    assert warnings[0].endswith('lvis.json: dropped 1 boxes (1 outside the image)')


def test_lvis_categories_must_be_in_the_order_of_the_metric(tmp_path):
    with pytest.raises(ValueError, match=r'lvis\.json: categories are not listed by ascending id'):
        lvis(tmp_path, [lvis_image(1)], categories={5: 'a', 2: 'b', 9: 'c'})


def test_published_lvis_file(shared_dir):
    dataset = PromptLVISDataset(
        ann_file=str(shared_dir / 'data/lvis/lvis_val_100.json'),
        data_prefix=dict(img='data/coco/'),
        pipeline=[],
        test_mode=True,
    )
    assert len(dataset) == 100 and len(dataset.metainfo['classes']) == 1230
    info = dataset.get_data_info(0)
    assert info['img_path'] == f'data/coco/val2017/{info["img_id"]:012}.jpg'
    assert sum(len(dataset.get_data_info(i)['instances']) for i in range(100)) > 900


# ------------------------------------------------------------- descriptions
def described(tmp_path, content=None, **kwargs):
    content = content or {NAMES[2]: ['weapon', ['bent', 'with a string']], 'Bulldog': ['dog', []]}
    (tmp_path / 'descriptions.json').write_text(json.dumps(content))
    arguments = dict(test_mode=True, descriptions='descriptions.json', names_per_prompt=2)
    return lvis(tmp_path, [lvis_image(1)], data_root=str(tmp_path), **arguments | kwargs)


def test_descriptions_word_the_prompts(tmp_path, caplog):
    dataset = described(tmp_path, tokenizer=dict(name_or_path='fiber_mmdet:mini'))
    words = dataset[0]['caption_prompt']
    assert words == {
        NAMES[2]: dict(
            prefix='Detect: ', name='bow , a kind of weapon,', suffix=' bent, with a string'
        ),
        NAMES[5]: dict(prefix='', name='bow ', suffix='. '),
        NAMES[9]: dict(prefix='Detect: ', name='bulldog, a kind of dog', suffix='. '),
    }
    assert words.size == 2 and f"'{NAMES[5]}'" in caplog.text
    few = described(tmp_path, metainfo=dict(classes=('bulldog',)))
    assert list(few[0]['caption_prompt']) == ['bulldog']


def test_descriptions_fit_the_model(tmp_path):
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    classes = ('bow_(weapon)', 'bulldog')
    known = {'bow_(weapon)': ['weapon', []], 'bulldog': ['dog', ['short legs', 'flat face']]}
    lengths = []
    for limit in (256, 45):
        dataset = described(
            tmp_path,
            known,
            tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=limit),
            metainfo=dict(classes=classes),
        )
        caption = category_prompt(classes, dataset[0]['caption_prompt']).caption
        lengths.append(tokenizer([caption]).ids.shape[1])
    assert lengths[0] > lengths[1] == 45


def test_descriptions_that_contradict(tmp_path):
    with pytest.raises(ValueError, match='DescribeCategories'):
        described(tmp_path, test_mode=False)
    with pytest.raises(ValueError, match='leave one of the two out'):
        described(tmp_path, caption_prompt={'bulldog': {}})
    with pytest.raises(FileNotFoundError, match=r'none\.json'):
        described(tmp_path, descriptions='none.json')
    with pytest.raises(ValueError, match=r'descriptions\.json: .bulldog. has description'):
        described(tmp_path, {'bulldog': 'dog'})
    with pytest.raises(PromptError, match='describes none of the 3 names'):
        described(tmp_path, {'cat': ['animal', []]})


# --------------------------------------------------------------- Objects365
def test_objects365_v2_patches_and_broken_images(tmp_path):
    images = [
        image(1) | dict(file_name='images/v1/patch8/objects365_v1_00420917.jpg'),
        image(2) | dict(file_name='images/v1/patch6/objects365_v1_00320532.jpg'),
        image(3) | dict(file_name='patch16/objects365_v2_00908725.jpg'),
    ]
    path = write_json(
        tmp_path / 'v2.json',
        images,
        [box(1, 1, BOX, 2), box(2, 2, BOX, 2), box(3, 3, BOX, 1)],
        {1: 'Person', 2: 'Sneakers'},
    )
    dataset = PromptObjects365V2Dataset(ann_file=path, data_prefix=dict(img='train'), pipeline=[])
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == [
        'train/patch8/objects365_v1_00420917.jpg',
        'train/patch16/objects365_v2_00908725.jpg',
    ]
    assert dataset.metainfo['classes'] == ('Person', 'Sneakers')
    assert dataset[0]['instances'][0]['bbox_label'] == 1


def perfect(dataset, ann_file):
    """AP of the true boxes."""
    metric = CocoMetric(ann_file=ann_file, metric='bbox')
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        boxes = np.array([instance['bbox'] for instance in info['instances']])
        metric.process(
            {},
            [
                dict(
                    img_id=info['img_id'],
                    ori_shape=(info['height'], info['width']),
                    pred_instances=dict(
                        bboxes=torch.tensor(boxes),
                        scores=torch.ones(len(boxes)),
                        labels=torch.tensor([i['bbox_label'] for i in info['instances']]),
                    ),
                )
            ],
        )
    return metric.evaluate(size=len(dataset))['coco/bbox_mAP']


@pytest.mark.parametrize(
    'categories', [{1: 'cat', 2: 'dog', 3: 'bat'}, {3: 'bat', 1: 'cat', 2: 'dog'}]
)
def test_labels_are_those_of_the_metric_in_any_order_of_categories(tmp_path, categories):
    """Objects365 v1 lists its categories in one order for training, in another for validation."""
    boxes = [box(1, 1, BOX, 1), box(2, 1, [30, 20, 20, 20], 3), box(3, 2, [5, 5, 30, 30], 2)]
    path = write_json(tmp_path / 'v1.json', [image(1), image(2)], boxes, categories)
    dataset = PromptCocoDataset(
        ann_file=path, data_prefix=dict(img=''), pipeline=[], test_mode=True
    )
    assert dataset.metainfo['classes'] == tuple(categories.values())
    info = dataset[0]
    assert [info['text'][i['bbox_label']] for i in info['instances']] == ['cat', 'bat']
    assert perfect(dataset, path) == pytest.approx(1)


def test_coco_o_is_coco(tmp_path):
    """A domain of COCO-O: the 80 names of COCO with its ids, a folder of images."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    ids = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    root = tmp_path / 'sketch'
    write_json(
        root / 'annotations/instances_val2017.json',
        [image(1)],
        [box(1, 1, BOX, 90), box(2, 1, [30, 20, 20, 20], 13)],
        dict(zip(ids, names)),
    )
    dataset = PromptCocoDataset(
        data_root=str(root),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=[],
        test_mode=True,
    )
    info = dataset[0]
    assert dataset.metainfo['classes'] == names and info['img_path'] == f'{root}/val2017/1.jpg'
    assert [info['text'][i['bbox_label']] for i in info['instances']] == ['toothbrush', 'stop sign']
