"""mmdet's own inferencer takes our models as it takes its own."""

import pytest

TEXT = 'a red circle . a blue square'


@pytest.fixture(scope='module')
def inferencer(config_file, weights_file):
    from mmdet.apis import DetInferencer

    return DetInferencer(
        model=str(config_file), weights=str(weights_file), device='cpu', show_progress=False
    )


def ask(inferencer, images, **kwargs):
    """The predictions as mmdet's data samples."""
    return inferencer(images, return_datasamples=True, **kwargs)['predictions']


def same(sample, result):
    """A data sample of mmdet and a result of ours hold the same detections."""
    found = sample.pred_instances
    assert len(found) == len(result) > 0
    assert found.bboxes.numpy() == pytest.approx(result.boxes, abs=1e-3)
    assert found.scores.numpy() == pytest.approx(result.scores, abs=1e-5)
    assert found.labels.tolist() == result.labels.tolist()
    assert found.label_names == result.names


def test_entities_agree_with_our_inferencer(inferencer, find, folder):
    path = str(folder / 'a.png')
    (sample,) = ask(inferencer, path, texts=TEXT, custom_entities=True)
    same(sample, find(path, TEXT, score_thr=0))


def test_dictionary_and_drawing(inferencer, folder, tmp_path):
    answer = inferencer(
        str(folder / 'a.png'),
        texts=TEXT,
        custom_entities=True,
        out_dir=str(tmp_path),
        no_save_pred=False,
    )
    assert set(answer['predictions'][0]) >= {'labels', 'scores', 'bboxes'}
    assert (tmp_path / 'vis/a.png').is_file() and (tmp_path / 'preds/a.json').is_file()


def test_noun_phrases_and_arrays(inferencer, find, pixels):
    caption = 'a red circle left of a star'
    # mmdet passes arrays on as they are, and its models expect the order of OpenCV
    (sample,) = ask(inferencer, pixels[0][..., ::-1].copy(), texts=caption)
    same(sample, find(pixels[0], caption, score_thr=0))


def test_a_text_for_each_image(inferencer, find, folder):
    paths = [str(folder / f'{name}.png') for name in 'abc']
    texts = ['a star', TEXT, 'a red circle right of a cross']
    for sample, path, text in zip(ask(inferencer, paths, texts=texts, batch_size=3), paths, texts):
        same(sample, find(path, text, score_thr=0, custom_entities=False))


@pytest.mark.parametrize('spans', [-1, [[[2, 5]], [[15, 27]]]])
def test_tokens_positive(inferencer, find, folder, spans):
    path = str(folder / 'a.png')
    (sample,) = ask(inferencer, path, texts=TEXT, tokens_positive=spans)
    same(sample, find(path, TEXT, score_thr=0, tokens_positive=spans))


def test_phrases(inferencer, find, folder):
    path = str(folder / 'a.png')
    (sample,) = ask(inferencer, path, texts=TEXT, tokens_positive=['blue square', 'circle'])
    same(sample, find(path, TEXT, score_thr=0, phrases=['blue square', 'circle']))


def test_chunked_size(inferencer, find, folder):
    paths = [str(folder / f'{name}.png') for name in 'ab']
    inferencer.model.test_cfg.chunked_size = 1
    try:
        samples = ask(inferencer, paths, texts=TEXT, custom_entities=True, batch_size=2)
    finally:
        del inferencer.model.test_cfg['chunked_size']
    for sample, path in zip(samples, paths):
        same(sample, find(path, TEXT, score_thr=0, chunked_size=1))


def test_classes_of_the_dataset_without_texts(inferencer, find, folder):
    path = str(folder / 'a.png')
    (sample,) = ask(inferencer, path)
    same(sample, find(path, ['red circle', 'blue square', 'star'], score_thr=0))
