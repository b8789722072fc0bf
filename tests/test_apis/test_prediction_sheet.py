"""Sheets of predictions on samples of a dataset: those of the inferencer, with the truth."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fiber_mmdet.apis import ImageTextInferencer, LoadingError
from fiber_mmdet.apis.prediction_sheet import prediction_sheet, verdict_claim
from image_text_model import make_config


@pytest.fixture
def sheet(ask, model_files, tiny_scenes):
    """Draws predictions of a task by the tiny model."""

    def draw(task, head, **kwargs):
        model = ImageTextInferencer(make_config(tiny_scenes, task, (head,)), 'random', 'cpu')
        missing, unexpected = model.model.load_state_dict(ask.model.state_dict(), strict=False)
        assert not missing
        return model, *prediction_sheet(model, **kwargs)

    return draw


def test_sheet_of_answers(sheet):
    model, drawing, records = sheet('vqa', 'vqa', number=3)
    images = list(dict.fromkeys(record['image'] for record in records))
    assert len(images) == 3 and len(records) == 12 and drawing.ndim == 3
    for record in records:
        assert record['answer'] == model.answer(record['image'], record['question']).answer
        assert record['right'] == (record['answer'] == record['truth'])


def test_sheet_of_statements(sheet):
    model, _, records = sheet('nlvr2', 'nlvr2', number=3)
    assert len(records) == 3
    for record in records:
        verdict = model.judge(*record['images'], record['statement'])
        assert verdict.true == record['true']
        assert verdict.probability == pytest.approx(record['probability'], abs=1e-5)
        assert isinstance(record['right'], bool)


def test_sheet_of_captions(sheet):
    def mark(caption, truth):
        marked.append((caption, truth))
        return SimpleNamespace(spans=[(0, 1, False)], missing='a ring', right=False)

    marked = []
    model, plain, records = sheet('captioning', 'caption', number=2)
    assert [model.caption(record['image']) for record in records] == [
        record['caption'] for record in records
    ]
    assert all(len(record['captions']) > 1 and 'right' not in record for record in records)
    _, drawing, judged_records = sheet('captioning', 'caption', number=2, mark_caption=mark)
    assert marked == [(record['caption'], record['captions']) for record in records]
    assert judged_records == [dict(record, right=False) for record in records]
    assert drawing.shape[0] > plain.shape[0]  # a line more: what is missing


def test_verdicts_in_words():
    assert verdict_claim(True, 0.75) == ('true  0.75', None, None)
    assert verdict_claim(False, 0.25, label=False) == ('false  0.75', True, None)
    assert verdict_claim(False, 0.25, label=True).right is False


@pytest.mark.parametrize('task, head', [('retrieval', 'itc'), ('retrieval_itm', 'itm')])
def test_sheet_of_retrieval(sheet, task, head):
    model, _, records = sheet(task, head, number=2, k=3)
    for record in records:
        hits = model.retrieve(record['query'], Path(record['right']).parent, 6, head == 'itm')
        order = [str(hit.item) for hit in hits]
        assert order.index(record['right']) == record['rank'] - 1
        assert [found['image'] for found in record['images']] == order[:3]


def test_random_samples_are_the_same_again(sheet):
    chosen = [
        [record['images'] for record in sheet('nlvr2', 'nlvr2', number=2, seed=seed)[2]]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_split_that_is_not_there(tiny_scenes):
    cfg = make_config(tiny_scenes, heads=('vqa',))
    cfg.pop('val_dataloader')
    with pytest.raises(LoadingError, match='no val_dataloader'):
        prediction_sheet(ImageTextInferencer(cfg, 'random', 'cpu'), split='val')
