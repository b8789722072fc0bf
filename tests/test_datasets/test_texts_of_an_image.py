"""texts_per_image of the image-text datasets: who shares an image, and what becomes of them."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from fiber_mmdet.datasets import (
    FlipViews,
    KarpathyCaptionDataset,
    NLVR2Dataset,
    PackImageText,
    VQAv2Dataset,
)
from fiber_mmdet.structures import SampleGroup
from image_text_model import make_config
from image_text_pairs import model_cfg

CAPTIONS = {1: 'abcde', 2: 'f', 3: 'gh', 4: 'ijk'}  # a caption is a letter


def captions(tmp_path, **kwargs):
    records = [
        dict(
            filepath='images',
            filename=f'{number}.jpg',
            split='train',
            cocoid=number,
            sentences=[dict(raw=text) for text in texts],
        )
        for number, texts in CAPTIONS.items()
    ]
    (tmp_path / 'captions.json').write_text(json.dumps(dict(images=records)))
    return KarpathyCaptionDataset(
        'captions.json', data_root=str(tmp_path), splits='train', **kwargs
    )


def dealt(dataset):
    return [''.join(text['text'] for text in dataset[i]['texts']) for i in range(len(dataset))]


@pytest.mark.parametrize(
    'count, groups',
    [
        (2, ['ad', 'be', 'c', 'f', 'gh', 'ik', 'j']),
        (3, ['ace', 'bd', 'f', 'gh', 'ijk']),
        (10, ['abcde', 'f', 'gh', 'ijk']),
    ],
)
def test_an_epoch_has_each_text_once_in_nearly_equal_groups(tmp_path, count, groups):
    dataset = captions(tmp_path, texts_per_image=count)
    assert dealt(dataset) == groups
    sample = dataset[0]
    assert sample['views']['image']['img_path'].endswith('images/1.jpg')
    assert set(sample) == {'views', 'image_id', 'texts', 'sample_idx'}
    assert all(text['captions'] == list('abcde') for text in sample['texts'])


def test_one_text_per_image_is_as_before(tmp_path):
    plain, one = captions(tmp_path), captions(tmp_path, texts_per_image=1)
    assert [plain[i] for i in range(len(plain))] == [one[i] for i in range(len(one))]


def test_subsets_and_false_images_count_images(tmp_path):
    dataset = captions(tmp_path, texts_per_image=3, indices=2)
    assert dealt(dataset) == ['ace', 'bd']
    dataset = captions(tmp_path, texts_per_image=10, false_image=True)
    others = {dataset[0]['views']['false_image']['img_path'][-5] for _ in range(60)}
    assert others == {'2', '3', '4'}


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(texts_per_image=0), 'texts_per_image=0 must be at least 1'),
        (dict(texts_per_image=2, test_mode=True), 'is for training'),
        (dict(texts_per_image=2, one_per='image'), "one_per='caption'"),
    ],
)
def test_values_that_cannot_be_meant(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        captions(tmp_path, **wrong)
    with pytest.raises(TypeError, match="texts_per_image='5'"):
        captions(tmp_path, texts_per_image='5')


def test_questions_and_statements(tmp_path):
    questions = [dict(question_id=i, question=f'{i}?', image_id=i % 2) for i in range(5)]
    answers = [dict(question_id=i, answers=10 * [dict(answer='no')]) for i in range(5)]
    (tmp_path / 'q.json').write_text(json.dumps(dict(questions=questions)))
    (tmp_path / 'a.json').write_text(json.dumps(dict(annotations=answers)))
    (tmp_path / 'list.json').write_text(json.dumps(['yes', 'no']))
    asked = VQAv2Dataset(
        'q.json',
        'list.json',
        'a.json',
        '{image_id}.jpg',
        data_root=str(tmp_path),
        texts_per_image=5,
    )
    assert dealt(asked) == ['0?2?4?', '1?3?']
    assert [text['answer_labels'] for text in asked[1]['texts']] == [[1], [1]]
    assert [text['question_id'] for text in asked[1]['texts']] == [1, 3]

    lines = [
        json.dumps(dict(identifier=f'dev-{pair}-0-{i}', sentence=f'{pair}{i}', label='True'))
        for pair, i in ((7, 0), (8, 0), (7, 1))
    ]
    (tmp_path / 'dev.json').write_text('\n'.join(lines))
    stated = NLVR2Dataset('dev.json', data_root=str(tmp_path), texts_per_image=4)
    assert dealt(stated) == ['7071', '80']
    assert [text['label'] for text in stated[0]['texts']] == [1, 1]
    assert list(stated[0]['views']) == ['image', 'image_1']


def loaded(texts):
    return dict(
        views=dict(image=dict(img_path='1.jpg', img=np.zeros((8, 8, 3), np.uint8))),
        image_id=1,
        texts=[dict(text=text, image_id=1, captions=list(texts)) for text in texts],
    )


def test_a_flip_mirrors_the_words_of_all_texts():
    results = FlipViews(1.0, swap_words=True)(loaded(['left of it', 'the right one']))
    assert [text['text'] for text in results['texts']] == ['right of it', 'the left one']
    for text in results['texts']:
        assert text['captions'] == ['right of it', 'the left one']
    results['texts'][1]['answer_labels'] = [0]
    with pytest.raises(ValueError, match='answers to questions'):
        FlipViews(1.0, swap_words=True)(results)


def test_packed_and_collated():
    batch = pseudo_collate([PackImageText()(loaded(texts)) for texts in (['a', 'b'], ['c'])])
    assert [image.shape for image in batch['inputs']['image']] == 2 * [(3, 8, 8)]
    groups = batch['data_samples']
    assert all(isinstance(group, SampleGroup) for group in groups)
    assert [[sample.text for sample in group.samples] for group in groups] == [['a', 'b'], ['c']]
    assert groups[0].samples[1].img_path == '1.jpg' and groups[0].samples[1].image_id == 1


@pytest.mark.parametrize('task', ['vqa', 'retrieval'])
def test_trainings_resume_to_the_same_weights(tiny_scenes, tmp_path, task):
    cfg = make_config(tiny_scenes, task, ('vqa',))
    cfg.load_from = None
    if task == 'retrieval':
        mlm, itm = dict(type='MLMHead'), dict(type='ITMHead')
        cfg.model = model_cfg(dict(mlm=mlm, itc=dict(type='ITCHead', queue_size=16), itm=itm))
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.texts_per_image = 3
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
    cfg.optim_wrapper.type, cfg.randomness = 'OptimWrapper', dict(seed=1)
    cfg.default_hooks.checkpoint = dict(type='WholeCheckpointHook', interval=2, by_epoch=False)
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor = dict(by_epoch=False, window_size=1)
    cfg.visualizer.name = f'shared-{task}'
    weights = []
    for name, resume in (('whole', None), ('resumed', 'whole/iter_2.pth')):
        run = Config(dict(cfg, work_dir=str(tmp_path / name)))
        if resume:
            run.update(resume=True, load_from=str(tmp_path / resume))
        Runner.from_cfg(run).train()
        weights.append(torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict'])
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-5, atol=1e-6)
