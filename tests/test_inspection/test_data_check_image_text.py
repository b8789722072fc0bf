"""Checks of data of the image-text tasks: views, texts, answers."""

import json
import re

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.inspection.data_check import check_data
from fiber_mmdet.inspection.data_sources import find_sources

LOAD = dict(type='LoadImageFromFile', imdecode_backend='pillow')
PIPELINE = [dict(type='EachView', transforms=[LOAD]), dict(type='PackImageText')]
TEXTS = ('a dog', 'a cat in a field of flowers', 'two boats', 'a red kite')


@pytest.fixture
def folder(tmp_path):
    """Four images with a caption, a question, and two statements about pairs of them."""
    images, questions, annotations, lines = [], [], [], []
    for i, text in enumerate(TEXTS):
        for name in (f'{i}.png', f'dev-{i}-0-img0.png', f'dev-{i}-0-img1.png'):
            Image.fromarray(np.full((8, 10, 3), i, np.uint8)).save(tmp_path / name)
        images.append(
            dict(filename=f'{i}.png', split='train', cocoid=i, sentences=[dict(raw=text)])
        )
        questions.append(dict(question_id=10 + i, image_id=i, question=f'is it {text}?'))
        annotations.append(
            dict(
                question_id=10 + i,
                image_id=i,
                answer_type='yes/no',
                answers=[dict(answer='yes')] * 10,
            )
        )
        lines.append(
            json.dumps(dict(identifier=f'dev-{i}-0-0', sentence=text, label=str(i % 2 == 0)))
        )
    for name, content in (
        ('captions', dict(images=images)),
        ('questions', dict(questions=questions)),
        ('annotations', dict(annotations=annotations)),
        ('answers', ['yes', 'no']),
    ):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    (tmp_path / 'dev.jsonl').write_text('\n'.join(lines))
    return tmp_path


def captions(folder, **kwargs):
    return dict(
        dict(
            type='KarpathyCaptionDataset',
            data_root=f'{folder}/',
            ann_file='captions.json',
            splits=('train',),
            image_template='{filename}',
            pipeline=PIPELINE,
            serialize_data=False,
        ),
        **kwargs,
    )


def questions(folder, **kwargs):
    return dict(
        dict(
            type='VQAv2Dataset',
            data_root=f'{folder}/',
            question_files=['questions.json'],
            annotation_files=['annotations.json'],
            answer_file='answers.json',
            image_template='{image_id}.png',
            pipeline=PIPELINE,
            serialize_data=False,
        ),
        **kwargs,
    )


def statements(folder, **kwargs):
    return dict(
        dict(
            type='NLVR2Dataset',
            data_root=f'{folder}/',
            ann_files=dict(dev='dev.jsonl'),
            image_template='{stem}-img{side}.png',
            pipeline=PIPELINE,
            serialize_data=False,
        ),
        **kwargs,
    )


def check(*train, max_tokens=50, heads=None, **kwargs):
    cfg = Config(
        dict(
            model=dict(
                type='FIBERForVL',
                heads=heads or {},
                tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=max_tokens),
            ),
            train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=list(train))),
        )
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return check_data(cfg, **kwargs)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_sound_data(folder):
    report = check(captions(folder), questions(folder), statements(folder))
    assert report.faults == [] and [part.looked_at for part in report.sources] == [4, 4, 4]
    assert [part.counts for part in report.sources] == [
        dict(samples=4, images=4, texts=4, cut=0),
        dict(samples=4, images=4, texts=4, cut=0, questions=4, answered=4, answers=2),
        dict(samples=4, images=8, texts=4, cut=0, statements=4, true=2),
    ]
    assert all(part.notes == [] for part in report.sources)
    assert [part.source.annotations for part in report.sources] == [
        (f'{folder}/{name}',) for name in ('captions.json', 'questions.json', 'dev.jsonl')
    ]


def test_missing_files_and_who_makes_them(folder):
    missing = check(
        questions(
            folder,
            question_files=['a.json'],
            annotation_files=['b.json', 'c.json'],
            answer_file='d.json',
        ),
        statements(folder, ann_files=dict(dev='e.json')),
        captions(folder, data_root='data/scenes/', ann_file='annotations/none.json'),
        heads=dict(
            caption=dict(objective=dict(type='CiderLoss', df_file='f.json')),
            old=dict(objective='cider', cider=dict(df_file='g.json'), gold=None),
            vqa=None,
        ),
    ).missing
    text = '\n'.join(missing)
    for place in ('question_files[0]', 'annotation_files[1]', 'ann_files.dev'):
        assert re.search(
            rf'no file .*\({re.escape("train_dataloader.dataset.datasets")}.*'
            rf'{re.escape(place)}\): see docs',
            text,
        ), place
    assert (
        f'fiber build-vqa-answers TRAIN_ANNOTATIONS VAL_ANNOTATIONS --out {folder}/d.json' in text
    )
    assert 'no file f.json (model.heads.caption.objective.df_file)' in text
    assert 'no file g.json (model.heads.old.cider.df_file)' in text
    assert 'fiber build-cider-df KARPATHY_FILE --splits train --out f.json' in text
    assert 'write it with fiber make-scenes data/scenes' in text
    assert len(missing) == 8


def test_images_of_every_view(folder):
    (folder / 'dev-1-0-img0.png').unlink()
    (folder / 'dev-2-0-img1.png').unlink()
    (folder / 'dev-3-0-img1.png').write_bytes(b'nothing')
    gone, damaged = check(statements(folder)).faults
    assert 'of 4 samples 2 have no image' in gone
    assert 'dev-1-0-img0.png' in gone and 'dev-2-0-img1.png' in gone
    assert 'of 4 samples 1 have an image that cannot be read' in damaged
    assert 'dev-3-0-img1.png' in damaged


def test_images_that_are_replaced_are_noted(folder):
    skipping = [dict(type='EachView', transforms=[dict(LOAD, ignore_empty=True)]), PIPELINE[1]]
    (folder / '1.png').unlink()
    report = check(captions(folder, pipeline=skipping))
    assert report.faults == []
    (note,) = report.sources[0].notes
    assert 'of 4 samples 1 have no image' in note and 'ignore_empty' in note
    for i in (0, 2, 3):
        (folder / f'{i}.png').unlink()
    (fault,) = check(captions(folder, pipeline=skipping)).faults
    assert '4 have no image' in fault


def test_texts(folder):
    edit(folder / 'questions.json', lambda c: c['questions'][2].update(question=' '))
    (fault,) = check(questions(folder)).faults
    assert 'of 4 samples 1 have an empty text: question_id 12' in fault
    report = check(captions(folder), max_tokens=6)
    assert report.faults == [] and report.sources[0].counts['cut'] == 1
    assert '1 of 4 texts have more than 6 tokens: they are cut' in report.sources[0].notes


def test_captions_that_are_left_out(folder):
    edit(
        folder / 'captions.json',
        lambda c: c['images'][0].update(
            sentences=[dict(raw='a dog'), dict(raw='a dog'), dict(raw=' '), dict(raw='the dog')]
        ),
    )
    (part,) = check(captions(folder, one_per='image')).sources
    assert part.counts['samples'] == 4 and part.counts['texts'] == 5
    assert any('left out 2 repeated or blank captions' in note for note in part.notes)


def test_answers(folder):
    edit(
        folder / 'annotations.json',
        lambda c: c['annotations'][1].update(answers=[dict(answer='perhaps')] * 10),
    )
    (part,) = check(questions(folder)).sources
    assert part.counts['samples'] == 3 and part.problems == []
    assert any('left out 1 questions without an answer' in note for note in part.notes)
    (kept,) = check(questions(folder, keep_unanswerable=True)).sources
    assert kept.counts['questions'] == 4 and kept.counts['answered'] == 3
    (fault,) = check(questions(folder), heads=dict(vqa=dict(num_answers=5))).faults
    assert 'its list has 2 answers, the model 5 classes' in fault
    (fault,) = check(questions(folder, annotation_files=None)).faults
    assert 'no question has a known answer' in fault
    assert check(questions(folder, annotation_files=None, test_mode=True)).faults == []


def test_files_of_several_splits_are_named(folder):
    cfg = dict(
        test_dataloader=dict(
            dataset=statements(folder, ann_files=dict(dev='dev.jsonl', test1='test1.jsonl'))
        )
    )
    (source,) = find_sources(cfg)
    assert source.annotations == (f'{folder}/dev.jsonl', f'{folder}/test1.jsonl')


def test_tasks_about_the_same_images(folder):
    joined = dict(
        type='TasksOfImages',
        datasets=dict(
            caption=captions(folder, pipeline=[]),
            question=questions(folder, pipeline=[]),
            statement=None,
        ),
        texts_per_image=dict(caption=1, question=1),
        pipeline=PIPELINE,
    )
    report = check(joined)
    assert report.faults == [] and [part.looked_at for part in report.sources] == [4, 4]
    assert [part.source.places[0] for part in report.sources] == [
        f'train_dataloader.dataset.datasets[0].datasets.{task}' for task in ('caption', 'question')
    ]
    joined['datasets']['statement'] = statements(folder, pipeline=[])
    joined['texts_per_image']['statement'] = 1
    (fault,) = check(joined).faults
    assert fault.startswith('train_dataloader.dataset.datasets[0]: TasksOfImages: task')
    assert 'image, image_1' in fault
