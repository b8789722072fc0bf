"""What is shown of an image-text sample is what the model is given."""

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.inspection.browsing import PairBrowser, is_image_text
from fiber_mmdet.text import PromptTokenizer
from fiber_mmdet.visualization.samples import draw_pair, pair_title

LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='Resize', scale=(40, 40), keep_ratio=False)
SENTENCE = 'The left image shows a red kite.'


@pytest.fixture
def folder(tmp_path):
    """Two images, red at their left, with captions, a question and a statement."""
    for i in range(2):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[:, :50] = (200, 10 * i, 20)
        Image.fromarray(pixels).save(tmp_path / f'dev-1-1-img{i}.png')
    for name, content in (
        (
            'captions',
            dict(
                images=[
                    dict(
                        filename='dev-1-1-img0.png',
                        split='train',
                        cocoid=1,
                        sentences=[dict(raw='a kite on the left'), dict(raw='red')],
                    )
                ]
            ),
        ),
        ('questions', dict(questions=[dict(question_id=3, image_id=0, question='what is it?')])),
        (
            'annotations',
            dict(
                annotations=[
                    dict(
                        question_id=3,
                        answer_type='other',
                        answers=[dict(answer='bird')] + [dict(answer='kite')] * 9,
                    )
                ]
            ),
        ),
        ('answers', ['bird', 'kite']),
    ):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    (tmp_path / 'dev.jsonl').write_text(
        json.dumps(dict(identifier='dev-1-1-0', sentence=SENTENCE, label='False'))
    )
    return tmp_path


def browse(folder, kind, *steps, max_tokens=50, **kwargs):
    given = dict(
        KarpathyCaptionDataset=dict(
            ann_file='captions.json', splits='train', image_template='{filename}'
        ),
        VQAv2Dataset=dict(
            question_files=['questions.json'],
            annotation_files=['annotations.json'],
            answer_file='answers.json',
            image_template='dev-1-1-img{image_id}.png',
        ),
        TasksOfImages={},
        NLVR2Dataset=dict(ann_files=['dev.jsonl'], image_template='{stem}-img{side}.png'),
    )[kind]
    pipeline = [
        dict(type='EachView', transforms=[LOAD, RESIZE]),
        *steps,
        dict(type='PackImageText'),
    ]
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                dict(data_root=f'{folder}/') if given else {},
                type=kind,
                pipeline=pipeline,
                serialize_data=False,
                **given,
                **kwargs,
            )
        )
    assert is_image_text(dataset)
    return PairBrowser(dataset, PromptTokenizer('fiber_mmdet:mini', max_tokens))


def test_a_statement_and_its_two_images(folder):
    pair = browse(folder, 'NLVR2Dataset').look(0)
    assert [view.name for view in pair.views] == ['image', 'image_1']
    assert [view.path[-8:] for view in pair.views] == ['img0.png', 'img1.png']
    assert [view.image.shape for view in pair.views] == [(40, 40, 3)] * 2
    assert pair.views[1].image[20, 5].tolist() == [200, 10, 20]
    assert pair.views[0].original_size == (100, 80) and not pair.views[0].flipped
    assert pair.text.caption == SENTENCE and pair.facts == ('label: false',)
    assert pair_title(pair).count('100×80 → 40×40') == 2
    image = draw_pair(pair)
    assert image.shape[1] == 480 + 12 + 480 and image.shape[0] > 480
    # the second view stands beside the first
    rows = np.where((image[:, 500] == (200, 10, 20)).all(-1))[0]
    assert len(rows) == 480 and (image[rows[0] + 240, 30] == (200, 0, 20)).all()


def test_a_question_and_its_answers(folder):
    pair = browse(folder, 'VQAv2Dataset').look(0)
    assert pair.text.caption == 'what is it?'
    assert pair.facts == ('answers (other): kite 1, bird 0.3',)


def test_texts_of_several_tasks(folder):
    datasets = dict(
        caption=browse(folder, 'KarpathyCaptionDataset').dataset,
        question=browse(folder, 'VQAv2Dataset').dataset,
    )
    for dataset in datasets.values():
        dataset.pipeline.transforms.clear()
    pair = browse(
        folder,
        'TasksOfImages',
        datasets=datasets,
        texts_per_image=dict(caption=2, question=1),
    ).look(0)
    assert pair.text.caption == 'a kite on the left'
    assert pair.facts == (
        'task: caption',
        'other captions: red',
        'also: red | task: caption',
        'also: what is it? | task: question | answers (other): kite 1, bird 0.3',
    )


def test_a_mirrored_caption(folder):
    flip = dict(type='FlipViews', prob=1.0, swap_words=True)
    pair = browse(folder, 'KarpathyCaptionDataset', flip).look(0)
    assert pair.text.caption == 'a kite on the right' and pair.facts == ('other captions: red',)
    assert pair.views[0].flipped and pair.views[0].image[20, 35].tolist() == [200, 0, 20]
    assert 'mirrored' in pair_title(pair)


def test_what_is_cut_off_is_marked(folder):
    whole = browse(folder, 'NLVR2Dataset').look(0)
    pair = browse(folder, 'NLVR2Dataset', max_tokens=6).look(0)
    assert pair.text.length == whole.text.length > 6 == pair.text.limit
    assert len(pair.text.pieces) == 4
    assert len(draw_pair(pair)) > len(draw_pair(whole))


def test_pipelines_have_to_pack(folder):
    browser = browse(folder, 'NLVR2Dataset')
    browser.dataset.pipeline.transforms.pop()
    with pytest.raises(ValueError, match='NLVR2Dataset has no PackImageText'):
        PairBrowser(browser.dataset, browser.tokenizer)
