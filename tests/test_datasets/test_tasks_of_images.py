"""Texts of several tasks about the same images: what is joined, drawn and refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger

from fiber_mmdet.datasets import PackImageText, TasksOfImages
from fiber_mmdet.datasets.dataset_tree import leaves, split_datasets
from fiber_mmdet.inspection.browsing import is_image_text
from fiber_mmdet.inspection.data_sources import find_sources

CAPTIONS = {1: 'abcde', 2: 'f', 3: 'gh'}  # a caption is a letter
QUESTIONS = {1: 3, 3: 1, 4: 2}  # number of questions


@pytest.fixture
def files(tmp_path):
    """Captions and questions about two images, and about one each; statements about pairs."""
    captions = [
        dict(
            filepath='.', filename=f'{i}.jpg', split='train', cocoid=i, sentences=[*map(raw, texts)]
        )
        for i, texts in CAPTIONS.items()
    ]
    questions = [
        dict(question_id=10 * i + n, question=f'{i}{n}?', image_id=i)
        for i, count in QUESTIONS.items()
        for n in range(count)
    ]
    answers = [
        dict(question_id=q['question_id'], answers=[dict(answer='no')] * 10) for q in questions
    ]
    statement = dict(identifier='dev-7-0-0', sentence='s', label='True')
    for name, content in dict(
        captions=dict(images=captions),
        questions=dict(questions=questions),
        annotations=dict(annotations=answers),
        answers=['yes', 'no'],
        other_answers=['no'],
        dev=statement,
    ).items():
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def raw(text):
    return dict(raw=text)


def datasets(root, **changes):
    found = dict(
        caption=dict(type='KarpathyCaptionDataset', ann_file='captions.json', splits='train'),
        question=dict(
            type='VQAv2Dataset',
            question_files='questions.json',
            annotation_files='annotations.json',
            answer_file='answers.json',
            image_template='./{image_id}.jpg',  # another spelling of the same paths
        ),
        statement=dict(type='NLVR2Dataset', ann_files='dev.json'),
    )
    for task, change in changes.items():
        found[task] = None if change is None else dict(found[task], **change)
    return {task: part and dict(part, data_root=str(root)) for task, part in found.items()}


def joined(root, texts=None, changes=None, **kwargs):
    texts = dict(caption=2, question=2) if texts is None else texts
    parts = datasets(root, **dict(dict(statement=None), **(changes or {})))
    return TasksOfImages(parts, texts, **kwargs)


def texts_of(sample):
    found = {}
    for text in sample['texts']:
        found.setdefault(text['task'], []).append(text['text'])
    return {task: ' '.join(texts) for task, texts in found.items()}


def test_an_image_has_texts_of_all_its_tasks(files):
    dataset = joined(files, dict(caption=9, question=9))
    assert [texts_of(dataset[i]) for i in range(len(dataset))] == [
        dict(caption='a b c d e', question='10? 11? 12?'),
        dict(caption='f'),
        dict(caption='g h', question='30?'),
        dict(question='40? 41?'),
    ]
    sample = dataset[0]
    path = str(files / '1.jpg')
    assert sample['views'] == dict(image=dict(img_path=path))
    assert {text['image_id'] for text in sample['texts']} == {sample['image_id']}
    assert len({dataset[i]['image_id'] for i in range(4)}) == 4
    assert sample['texts'][0]['captions'] == list('abcde')
    assert sample['texts'][-1]['answer_labels'] == [1]
    assert dataset.metainfo['answers'] == ('yes', 'no')
    assert dataset.most_texts() == 18 and dataset.most_texts(['question']) == 9
    assert dataset.tasks == ('caption', 'question')


def test_texts_are_drawn_evenly_and_again_with_the_same_seed(files):
    dataset = joined(files, dict(caption=2, question=1))
    np.random.seed(0)
    drawn = [texts_of(dataset[0]) for _ in range(400)]
    pairs = [one['caption'].split() for one in drawn]
    assert all(len(set(pair)) == 2 for pair in pairs)
    counts = [sum(letter in pair for pair in pairs) for letter in 'abcde']
    assert sum(counts) == 800 and all(120 < count < 200 for count in counts)
    assert {one['question'] for one in drawn} == {'10?', '11?', '12?'}
    np.random.seed(0)
    assert [texts_of(dataset[0]) for _ in range(5)] == drawn[:5]


def test_wrapped_and_false_images(files):
    both = dict(type='ConcatDataset', datasets=[datasets(files)['caption']] * 2)
    dataset = TasksOfImages(dict(caption=both), dict(caption=20), false_image=True)
    np.random.seed(0)
    assert texts_of(dataset[1]) == dict(caption='f f')
    others = {dataset[1]['views']['false_image']['img_path'][-5] for _ in range(40)}
    assert others == {'1', '3'}
    subset = TasksOfImages(dict(caption=both), dict(caption=20), indices=2)
    assert len(subset) == 2


def test_pipelines_pack_the_tasks(files):
    def blank(results):
        results['views']['image']['img'] = np.zeros((8, 8, 3), np.uint8)
        return results

    dataset = joined(files, pipeline=[blank, PackImageText()])
    batch = pseudo_collate([dataset[0], dataset[3]])
    assert [image.shape for image in batch['inputs']['image']] == 2 * [(3, 8, 8)]
    tasks = [[sample.task for sample in group.samples] for group in batch['data_samples']]
    assert tasks == [['caption', 'caption', 'question', 'question'], ['question', 'question']]


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(texts=dict(caption=2)), "no number for task 'question'"),
        (dict(texts=dict(caption=2, question=2, fact=1)), "a task 'fact', but the datasets are"),
        (dict(texts=dict(caption=0, question=2)), 'texts_per_image=0 must be at least 1'),
        (dict(test_mode=True), 'is for training'),
        (dict(changes=dict(caption=dict(texts_per_image=2))), "'caption' sets texts_per_image"),
        (dict(changes=dict(caption=dict(test_mode=True))), "'caption' sets test_mode"),
        (dict(changes=dict(caption=dict(false_image=True))), "'caption' sets false_image"),
        (
            dict(changes=dict(question=dict(pipeline=[PackImageText()]))),
            "'question' sets pipeline",
        ),
        (dict(changes=dict(caption=None, question=None), texts={}), 'datasets is empty'),
        (
            dict(changes=dict(statement={}), texts=dict(caption=1, question=1, statement=1)),
            r"task 'statement' image, image_1: .*OneSourcePerBatchSampler",
        ),
    ],
)
def test_what_cannot_be_meant(files, change, message):
    with pytest.raises(ValueError, match=message):
        joined(files, **change)


def test_one_number_for_all_tasks_and_unknown_arguments(files):
    with pytest.raises(TypeError, match='number for each task.*caption=4, question=4'):
        joined(files, 4)
    with pytest.raises(TypeError, match="no argument 'ann_file'"):
        joined(files, ann_file='captions.json')


def test_answers_of_two_tasks_must_agree(files):
    parts = datasets(files)
    other = dict(parts['question'], answer_file='other_answers.json')
    with pytest.raises(ValueError, match="answers of task 'more'.*questions.json"):
        TasksOfImages(dict(question=parts['question'], more=other), dict(question=1, more=1))


def test_the_log_counts_and_warns_of_tasks_without_common_images(files, monkeypatch):
    said = dict(info=[], warning=[])
    logger = SimpleNamespace(
        log=lambda level, line: None, **{level: lines.append for level, lines in said.items()}
    )
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    joined(files)
    assert '4 images (caption: 8 texts of 3 images; question: 6 texts of 3' in said['info'][-1]
    assert not said['warning']
    joined(files, changes=dict(question=dict(image_template='elsewhere/{image_id}.jpg')))
    assert "no image of task 'caption'" in said['warning'][0] and 'elsewhere' in said['warning'][0]


def test_tools_find_the_files_of_all_tasks(files):
    part = dict(
        type='TasksOfImages',
        datasets=datasets(files, statement=None),
        texts_per_image=dict(caption=1, question=1),
    )
    cfg = dict(train_dataloader=dict(dataset=part))
    places = [place for _, place in split_datasets(cfg, 'train')]
    assert places[1:] == [
        'train_dataloader.dataset.datasets.caption',
        'train_dataloader.dataset.datasets.question',
    ]
    names = [path for source in find_sources(cfg) for path in source.annotations]
    assert names == [str(files / 'captions.json'), str(files / 'questions.json')]
    built = DATASETS.build(part)
    assert list(leaves(built)) == [built] and is_image_text(built)
