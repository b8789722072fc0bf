"""The files of sentences, questions and statements: formats, images, existing folders."""

import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from fiber_mmdet.datasets import KarpathyCaptionDataset, NLVR2Dataset, VQAv2Dataset
from fiber_mmdet.text.vqa_answers import normalize_answer, read_answers
from fiber_scenes import ANSWERS, SPLITS, ask, narrate, sample_scene, state, write_dataset

SIZES = {'train': 7, 'val': 5, 'test': 4}
SEED = 3


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes') / 'data'
    write_dataset(root, SIZES, seed=SEED, image_size=96, progress=False)
    return root


@pytest.fixture(scope='module')
def scenes():
    return {
        split: [sample_scene(split, i, SEED, 96) for i in range(size)]
        for split, size in SIZES.items()
    }


def load(root, name):
    return json.loads((root / 'annotations' / name).read_text())


def load_lines(root, split):
    lines = (root / 'annotations' / f'nlvr2_{split}.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_caption_file(data, scenes):
    content = load(data, 'captions_karpathy.json')
    assert content['dataset'] == 'scenes'
    images = content['images']
    assert [image['split'] for image in images] == [s for s in SPLITS for _ in range(SIZES[s])]
    assert [image['cocoid'] for image in images] == list(range(sum(SIZES.values())))
    scene_of = iter(sum(scenes.values(), []))
    sentence_ids = []
    for image in images:
        scene = next(scene_of)
        assert image['filepath'] == image['split'] == scene.split
        with Image.open(data / 'images' / image['filepath'] / image['filename']) as opened:
            assert opened.size == (96, 96)
        assert [sentence['raw'] for sentence in image['sentences']] == narrate(scene)
        assert image['sentids'] == [sentence['sentid'] for sentence in image['sentences']]
        sentence_ids += image['sentids']
        for sentence in image['sentences']:
            assert sentence['imgid'] == image['imgid'] == image['cocoid']
            assert ' '.join(sentence['tokens']) == sentence['raw'].replace(',', '')
    assert sentence_ids == list(range(len(sentence_ids)))


def test_question_files(data, scenes):
    seen = set()
    for split in SPLITS:
        questions = load(data, f'vqa_{split}_questions.json')
        annotations = load(data, f'vqa_{split}_annotations.json')
        assert questions['task_type'] == 'Open-Ended'
        assert questions['data_subtype'] == annotations['data_subtype'] == split
        rows = list(zip(questions['questions'], annotations['annotations'], strict=True))
        expected = [(scene.index, question) for scene in scenes[split] for question in ask(scene)]
        for (question, annotation), (index, truth) in zip(rows, expected, strict=True):
            assert set(question) == {'image_id', 'question', 'question_id'}
            assert question['image_id'] == annotation['image_id'] == index
            assert question['question_id'] == annotation['question_id']
            assert question['question'] == truth.text
            assert annotation['multiple_choice_answer'] == truth.answer
            assert annotation['question_type'] == truth.kind
            assert annotation['answer_type'] == truth.answer_type
            assert [a['answer'] for a in annotation['answers']] == [truth.answer] * 10
            assert [a['answer_id'] for a in annotation['answers']] == list(range(1, 11))
            assert {a['answer_confidence'] for a in annotation['answers']} == {'yes'}
            assert (data / 'images' / split / f'{index:06d}.jpg').is_file()
            seen.add(question['question_id'])
    assert len(seen) == 5 * sum(SIZES.values())


def test_answer_list(data):
    assert read_answers(str(data / 'annotations' / 'vqa_answers.json')) == list(ANSWERS)
    # Written as the normalisation of VQA leaves them, so that all are found.
    assert [normalize_answer(answer) for answer in ANSWERS] == list(ANSWERS)
    assert len(ANSWERS) == 36


@pytest.mark.parametrize('split', SPLITS)
def test_training_can_read_them(data, split):
    root = dict(data_root=str(data), lazy_init=False)
    captions = KarpathyCaptionDataset(
        ann_file='annotations/captions_karpathy.json',
        splits=(split,),
        image_template='images/{filepath}/{filename}',
        **root,
    )
    assert len(captions) == 3 * SIZES[split]
    questions = VQAv2Dataset(
        question_files=[f'annotations/vqa_{split}_questions.json'],
        annotation_files=[f'annotations/vqa_{split}_annotations.json'],
        answer_file='annotations/vqa_answers.json',
        image_template=f'images/{split}/{{image_id:06d}}.jpg',
        **root,
    )
    assert len(questions) == 5 * SIZES[split]
    assert all(questions.get_data_info(i)['answer_scores'] == [1.0] for i in range(len(questions)))
    statements = NLVR2Dataset(
        ann_files={split: f'annotations/nlvr2_{split}.jsonl'},
        image_template='nlvr2/{split}/{stem}-img{side}.jpg',
        **root,
    )
    assert len(statements) == len(load_lines(data, split))
    for dataset in (captions, questions, statements):
        for i in range(len(dataset)):
            for view in dataset.get_data_info(i)['views'].values():
                assert Path(view['img_path']).is_file()


@pytest.mark.parametrize('split', SPLITS)
def test_statement_files(data, scenes, split):
    records = iter(load_lines(data, split))
    images = set()
    for number, anchor in enumerate(range(0, SIZES[split], 2)):
        for k, pair in enumerate(state(scenes[split], anchor)):
            for side, scene in enumerate((pair.left, pair.right)):
                image = data / 'nlvr2' / split / f'{split}-{number}-{k}-img{side}.jpg'
                assert image.samefile(data / 'images' / split / f'{scene.index:06d}.jpg')
                images.add(image)
            for i, (sentence, truth) in enumerate(pair.statements):
                record = next(records)
                assert record.pop('directory', None) == (0 if split == 'train' else None)
                assert record == {
                    'identifier': f'{split}-{number}-{k}-{i}',
                    'sentence': sentence,
                    'label': 'True' if truth else 'False',
                }
    assert next(records, None) is None
    assert images and set((data / 'nlvr2' / split).iterdir()) == images


def test_counts(data):
    meta = json.loads((data / 'meta.json').read_text())
    assert meta['version'] == 4
    for split, size in SIZES.items():
        counts = meta['counts'][split]
        assert counts['sentences'] == 3 * size and counts['questions'] == 5 * size
        assert counts['statements'] == len(load_lines(data, split)) > 0


def test_same_data_again_even_without_hard_links(data, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, 'no hard links here')

    monkeypatch.setattr(os, 'link', refuse)
    root = tmp_path / 'again'
    write_dataset(root, SIZES, seed=SEED, image_size=96, progress=False)
    files = sorted(path.relative_to(data) for path in data.rglob('*') if path.is_file())
    assert files == sorted(path.relative_to(root) for path in root.rglob('*') if path.is_file())
    for path in files:
        assert (data / path).read_bytes() == (root / path).read_bytes()
    assert {path.stat().st_nlink for path in (root / 'nlvr2').rglob('*.jpg')} == {1}


def test_splits_left_out_and_tiny_ones(tmp_path):
    root = tmp_path / 'tiny'
    meta = write_dataset(root, {'val': 1}, progress=False)
    assert meta['counts']['val']['statements'] == 0 and load_lines(root, 'val') == []
    assert len(load(root, 'captions_karpathy.json')['images']) == 1
    assert not list((root / 'annotations').glob('*_train*'))


def test_data_of_an_older_version_are_not_replaced_unasked(tmp_path):
    root = tmp_path / 'old'
    meta = write_dataset(root, {'val': 1}, progress=False)
    (root / 'meta.json').write_text(json.dumps({**meta, 'version': 2}))
    with pytest.raises(FileExistsError, match="'version': 2.*--overwrite"):
        write_dataset(root, {'val': 1}, progress=False)
    assert write_dataset(root, {'val': 1}, progress=False, overwrite=True) == meta
    assert json.loads((root / 'meta.json').read_text()) == meta and meta['version'] == 4


def test_data_of_version_0_1_are_recognised(tmp_path):
    """The name of the generator is part of the format, wherever its code may be."""
    meta = write_dataset(tmp_path / 'data', {'val': 1}, progress=False)
    assert meta['generator'] == 'fiber_mmdet.datasets.scenes'


def test_more_texts_for_training(tmp_path):
    """Other splits keep theirs, so that figures stay comparable."""
    kwargs = dict(sizes=dict(train=3, val=2), image_size=64, progress=False)
    write_dataset(tmp_path / 'few', **kwargs)
    meta = write_dataset(tmp_path / 'many', train_sentences=8, train_questions=20, **kwargs)
    few, many = tmp_path / 'few', tmp_path / 'many'
    assert load(few, 'vqa_val_questions.json') == load(many, 'vqa_val_questions.json')
    short, long = (
        [image['sentences'] for image in load(root, 'captions_karpathy.json')['images']]
        for root in (few, many)
    )
    texts = [[sentence['raw'] for sentence in image] for image in (*short, *long)]
    assert texts[:3] == [found[:3] for found in texts[5:8]] and texts[3:5] == texts[8:]
    assert max(map(len, texts[5:8])) == 8
    questions = load(many, 'vqa_train_questions.json')['questions']
    assert len({question['question_id'] for question in questions}) == len(questions) > 40
    assert write_dataset(many, train_sentences=8, train_questions=20, **kwargs) == meta
    with pytest.raises(FileExistsError, match="'train_questions': 20"):
        write_dataset(many, **kwargs)
    with pytest.raises(ValueError, match='train_questions=0 must be at least 1'):
        write_dataset(tmp_path / 'none', train_questions=0, **kwargs)
