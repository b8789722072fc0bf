"""The public image-text datasets in miniature, read as the configs read them."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from benchmark_files.captions import COCO_SPLITS, sentences, write_karpathy
from benchmark_files.coco import coco_id, write_coco
from benchmark_files.flickr30k import EntitiesImage, write_flickr30k
from benchmark_files.nlvr2 import write_nlvr2
from benchmark_files.visual_genome import IN_COCO, write_visual_genome
from benchmark_files.vqav2 import write_vqav2
from benchmark_files.web_captions import write_web_captions
from fiber_mmdet.models.image_text import ImageTextPreprocessor
from fiber_mmdet.text.vqa_answers import agreed_answers, answer_vocabulary

LOAD = dict(
    type='EachView',
    transforms=[
        dict(
            type='LoadImageFromFile',
            imdecode_backend='pillow',
            color_type='color_ignore_orientation',
        ),
        dict(
            type='Resize',
            scale=(32, 32),
            keep_ratio=False,
            interpolation='bicubic',
            backend='pillow',
        ),
    ],
)
CAPTIONS = dict(type='KarpathyCaptionDataset')
COCO = dict(CAPTIONS, ann_file='karpathy/dataset_coco.json', data_prefix=dict(img='coco/'))
SPLITS = ('train2014', 'val2014')


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp('benchmarks')
    write_coco(data / 'coco')
    write_flickr30k(data / 'flickr30k', data / 'mdetr_annotations')
    write_karpathy(data / 'karpathy', data / 'coco')
    write_visual_genome(data / 'visual_genome')
    write_web_captions(data / 'sbu', data / 'conceptual_captions')
    write_vqav2(data / 'vqav2', data / 'coco')
    write_nlvr2(data / 'nlvr2')
    answers = answer_vocabulary(
        agreed_answers(
            [str(data / f'vqav2/v2_mscoco_{subset}_annotations.json') for subset in SPLITS]
        ),
        2,
    )
    (data / 'vqav2/answer_list.json').write_text(json.dumps(answers))
    (data / 'visual_genome/coco_ids.json').write_text(
        json.dumps(
            [
                image['image_id']
                for image in json.loads((data / 'visual_genome/image_data.json').read_text())
                if image['coco_id']
            ]
        )
    )
    return data


@pytest.fixture
def read(data):
    """Builds a dataset, and looks at all samples: their images are there and collate."""

    def read(folder='', **cfg):
        with DefaultScope.overwrite_default_scope('mmdet'):
            dataset = DATASETS.build(
                dict(cfg, data_root=str(data / folder), pipeline=[LOAD, dict(type='PackImageText')])
            )
        items = [dataset[i] for i in range(len(dataset))]
        inputs = ImageTextPreprocessor()(pseudo_collate(items))['inputs']
        assert {view.shape for view in inputs.values()} == {(len(items), 3, 32, 32)}
        assert all(view.std() > 1 for view in inputs.values())
        return inputs, [item['data_samples'] for item in items]

    return read


def test_coco_captions(read, data):
    for split, numbers in COCO_SPLITS.items():
        _, samples = read(**COCO, splits=(split,))
        want = [(coco_id(n), text) for n in numbers for text in dict.fromkeys(sentences(n))]
        assert [(s.image_id, s.text) for s in samples] == want and len(want) < 5 * len(numbers)
    # images of different ids may look alike here, so that files are compared, not pixels
    inputs, samples = read(**COCO, false_image=True)
    assert set(inputs) == {'image', 'false_image'}
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(COCO, data_root=str(data), false_image=True, pipeline=[]))
    views = [dataset.get_data_info(i)['views'] for i in range(len(dataset))]
    assert len(views) == len(samples)
    assert all(v['image']['img_path'] != v['false_image']['img_path'] for v in views)


def test_flickr30k_captions(read):
    _, samples = read(
        **CAPTIONS,
        ann_file='karpathy/dataset_flickr30k.json',
        splits=('test',),
        one_per='image',
        data_prefix=dict(img='flickr30k/flickr30k_images/'),
        image_template='{filename}',
    )
    assert [s.image_id for s in samples] == [EntitiesImage(n).image_id for n in (7, 8, 9)]
    assert [len(s.captions) for s in samples] == [5, 5, 4]


@pytest.mark.parametrize('kwargs', [{}, dict(image_data_file='image_data.json')])
def test_visual_genome(read, kwargs):
    cfg = dict(type='RegionPhraseDataset', ann_file='region_descriptions.json', **kwargs)
    _, samples = read('visual_genome', **cfg)
    pairs = [(s.image_id, s.text) for s in samples]
    assert len(set(pairs)) == len(pairs) and all(text.strip() for _, text in pairs)
    assert len({image_id for image_id, _ in pairs}) == 6
    _, fewer = read('visual_genome', **cfg, exclude_ids='coco_ids.json')
    assert len({s.image_id for s in fewer}) == 6 - len(IN_COCO)


def test_web_captions(read):
    for folder, name, count in (
        ('sbu', 'annot.json', 5),
        ('conceptual_captions', 'train_annot.json', 5),
        ('conceptual_captions', 'val_annot.json', 2),
    ):
        _, samples = read(folder, type='WebCaptionDataset', ann_file=name)
        assert len(samples) == count and all(s.captions == [s.text] for s in samples)


def vqa(*subsets, annotated=True):
    return dict(
        type='VQAv2Dataset',
        answer_file='vqav2/answer_list.json',
        data_prefix=dict(img='coco/'),
        question_files=[f'vqav2/v2_OpenEnded_mscoco_{s}_questions.json' for s in subsets],
        annotation_files=[f'vqav2/v2_mscoco_{s}_annotations.json' for s in subsets] * annotated,
    )


def test_vqav2(read, data):
    answers = json.loads((data / 'vqav2/answer_list.json').read_text())
    _, samples = read(**vqa(*SPLITS))
    train = json.loads((data / 'vqav2/v2_mscoco_train2014_annotations.json').read_text())
    asked = {a['question_id']: a for a in train['annotations']}
    assert {'yes', 'no'} <= set(answers) and not any(a.startswith('painter') for a in answers)
    assert all(s.question_id % 1000 != 9 for s in samples)  # "who drew this?" has no class
    scores = set()
    for sample in samples:
        found = dict(zip(sample.answer_labels, sample.answer_scores))
        scores |= set(sample.answer_scores)
        if sample.question_id in asked:
            given = [a['answer'] for a in asked[sample.question_id]['answers']]
            assert found == {
                answers.index(a): min(0.3 * given.count(a), 1) for a in given if a in answers
            }
            for kind in ('answer_type', 'question_type'):
                assert sample.get(kind) == asked[sample.question_id][kind]
    assert scores <= {0.3, 0.6, 0.9, 1.0}
    for subset, images in (('test2015', 3), ('test-dev2015', 1)):
        _, samples = read(**vqa(subset, annotated=False))
        assert len({s.image_id for s in samples}) == images and 'answer_labels' not in samples[0]


def test_nlvr2(read):
    inputs, samples = read(
        'nlvr2',
        type='NLVR2Dataset',
        ann_files=['data/train.json', 'data/dev.json', 'data/test1.json'],
    )
    assert set(inputs) == {'image', 'image_1'}
    assert {s.split for s in samples} == {'train', 'dev', 'test1'}
    assert len({s.identifier for s in samples}) == len(samples)
    # a set has two pairs with the same sentences: each is true of one
    assert 2 * sum(s.label for s in samples) == len(samples)
    same = (inputs['image'] == inputs['image_1']).flatten(1).all(1)
    assert not torch.any(same)


def test_generated_scenes(tiny_scenes, tmp_path):
    """Scenes come in the same formats."""
    root = dict(data_root=str(tiny_scenes), pipeline=[])
    answers = answer_vocabulary(
        agreed_answers([str(tiny_scenes / 'annotations/vqa_train_annotations.json')]), 1
    )
    (tmp_path / 'answers.json').write_text(json.dumps(answers))
    with DefaultScope.overwrite_default_scope('mmdet'):
        sets = [
            DATASETS.build(dict(cfg, **root))
            for cfg in (
                dict(
                    CAPTIONS,
                    ann_file='annotations/captions_karpathy.json',
                    splits=('train',),
                    image_template='images/{filepath}/{filename}',
                ),
                dict(
                    type='VQAv2Dataset',
                    question_files=['annotations/vqa_train_questions.json'],
                    annotation_files=['annotations/vqa_train_annotations.json'],
                    answer_file=str(tmp_path / 'answers.json'),
                    image_template='images/train/{image_id:06d}.jpg',
                ),
                dict(
                    type='NLVR2Dataset',
                    ann_files=dict(train='annotations/nlvr2_train.jsonl'),
                    image_template='nlvr2/{split}/{stem}-img{side}.jpg',
                ),
            )
        ]
    for dataset in sets:
        for i in range(len(dataset)):
            for view in dataset[i]['views'].values():
                assert Path(view['img_path']).is_file()
    assert len(sets[1]) > 30 and all(sets[1][i]['answer_scores'] == [1.0] for i in range(30))


def test_an_option_that_would_do_nothing_is_refused(read):
    with pytest.raises(ValueError, match='filter_cfg'):
        read(**COCO, filter_cfg=dict(filter_empty_gt=True))
