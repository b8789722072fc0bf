"""Scores of captions, files of predictions, and metrics whose tools are missing."""

import json
import logging
import shutil

import pytest

from fiber_mmdet.evaluation import CaptionMetric, coco_caption_scores
from fiber_mmdet.evaluation.caption_metric import read_references
from fiber_mmdet.text.cider_d import CiderD, caption_words
from made_samples import score, score_in_two_processes

TEXTS = {
    3: ['A red circle and a star.', 'a star by a red circle'],
    7: ['two dogs run on grass', 'dogs are running'],
    5: ['a cat sits on a blue chair', 'a blue chair with a cat'],
}
PUBLIC = ('CIDEr', 'BLEU', 'ROUGE')


def sample(image, caption, captions=True):
    fields = dict(image_id=image, text='a text', pred_caption=caption)
    return dict(fields, captions=TEXTS[image]) if captions else fields


def samples(**more):
    found = {3: 'a red circle and a star', 7: 'two dogs run fast', 5: 'a dog sits on a chair'}
    return [sample(image, text, **more) for image, text in found.items()]


def compute(samples, **kwargs):
    kwargs.setdefault('metrics', ['CIDEr-D'])
    return {
        key.removeprefix('caption/'): value
        for key, value in score(CaptionMetric(**kwargs), samples).items()
    }


def expected_cider(samples, cider=None, end=()):
    words = {
        s['image_id']: [caption_words(text) + [*end] for text in TEXTS[s['image_id']]]
        for s in samples
    }
    cider = cider or CiderD.from_captions(words.values())
    return sum(
        cider.score(caption_words(s['pred_caption']) + [*end], words[s['image_id']])
        for s in samples
    ) / len(samples)


@pytest.fixture
def java():
    """The public evaluation splits words with a Java program."""
    pytest.importorskip('pycocoevalcap.tokenizer.ptbtokenizer')
    if shutil.which('java') is None:
        pytest.skip('no java')


@pytest.fixture
def log(monkeypatch):
    """Messages of the metric in the log."""
    lines = []
    logger = logging.getLogger('caption metric')
    for name in ('info', 'warning'):
        monkeypatch.setattr(logger, name, lines.append)
    monkeypatch.setattr(
        'fiber_mmdet.evaluation.caption_metric.MMLogger.get_current_instance', lambda: logger
    )
    return lines


def test_cider_d():
    found = compute(samples())
    assert found == {'CIDEr-D': pytest.approx(expected_cider(samples())), 'captions': 3}
    assert 1 < found['CIDEr-D'] < 10


def test_perfect_and_empty_captions():
    single = {image: texts[0] for image, texts in TEXTS.items()}
    perfect = [dict(sample(image, text), captions=[text]) for image, text in single.items()]
    assert compute(perfect)['CIDEr-D'] == pytest.approx(10)
    assert compute([sample(image, '') for image in TEXTS])['CIDEr-D'] == 0
    assert compute([]) == {'CIDEr-D': 0, 'captions': 0}


def test_document_frequencies_of_a_file(tmp_path):
    """Captions end with the same mark as those behind the document frequencies."""
    table = {('a',): 90, ('<eos>',): 100, ('red',): 3, ('star', '<eos>'): 4}
    CiderD(table, 100).save(tmp_path / 'df.json')
    found = compute(samples(), df_file=tmp_path / 'df.json')
    assert found['CIDEr-D'] == pytest.approx(
        expected_cider(samples(), CiderD(table, 100), ['<eos>'])
    )


def test_the_scores_of_the_public_evaluation(java):
    perfect = [sample(image, texts[0]) for image, texts in TEXTS.items()]
    found = compute(perfect, metrics=PUBLIC)
    assert set(found) == {
        'CIDEr-D',
        'CIDEr',
        'BLEU-1',
        'BLEU-2',
        'BLEU-3',
        'BLEU-4',
        'ROUGE-L',
        'captions',
    }
    assert [found[f'BLEU-{n}'] for n in (1, 2, 3, 4)] == pytest.approx([1] * 4)
    assert found['ROUGE-L'] == pytest.approx(1)
    # the same words and the same formula, so the public figure equals ours
    assert found['CIDEr'] == pytest.approx(found['CIDEr-D']) and found['CIDEr'] > 3
    worse = compute(samples(), metrics=PUBLIC)
    assert 0 < worse['BLEU-4'] < 1 and worse['CIDEr'] == pytest.approx(worse['CIDEr-D'])
    assert worse['CIDEr'] < found['CIDEr']
    empty = compute([sample(image, '') for image in TEXTS], metrics=PUBLIC)
    assert max(value for name, value in empty.items() if name != 'captions') < 1e-6


def test_line_breaks_inside_captions(java):
    broken = [sample(3, 'a red\ncircle\r\nand\u2028a star'), sample(7, '\n'), sample(5, 'a cat')]
    whole = [sample(3, 'a red circle and a star'), sample(7, ''), sample(5, 'a cat')]
    assert compute(broken, metrics=PUBLIC) == pytest.approx(compute(whole, metrics=PUBLIC))


@pytest.mark.parametrize(
    'what, reason',
    [
        ('package_folder', 'pycocoevalcap is not installed: pip install pycocoevalcap'),
        ('shutil.which', 'there is no java'),
    ],
)
def test_missing_tools_are_named(monkeypatch, log, what, reason):
    monkeypatch.setattr(f'fiber_mmdet.evaluation.coco_caption_scores.{what}', lambda *_: None)
    if what != 'package_folder':
        monkeypatch.setattr(
            'fiber_mmdet.evaluation.coco_caption_scores.package_folder', lambda: '.'
        )
    assert set(compute(samples(), metrics=PUBLIC)) == {'CIDEr-D', 'captions'}
    assert [line.split(' is left out: ')[0] for line in log] == list(PUBLIC)
    assert all(reason in line for line in log)


def test_metrics_that_fail_are_named(monkeypatch, tmp_path, log):
    """A failing scorer does not stop the evaluation."""
    module = 'fiber_mmdet.evaluation.coco_caption_scores'
    monkeypatch.setattr(f'{module}.missing_tool', lambda: '')
    monkeypatch.setattr(f'{module}.package_folder', lambda: tmp_path)
    monkeypatch.setattr(f'{module}.words', lambda captions: captions)

    def run(module, name, references, candidates):
        if name == 'Meteor':
            raise BrokenPipeError('pipe')
        return [0.1, 0.2, 0.3, 0.4] if name == 'Bleu' else 0.5

    monkeypatch.setattr(f'{module}.run_scorer', run)
    found = compute(samples(), metrics=['METEOR', 'SPICE', 'BLEU', 'ROUGE'])
    assert found['BLEU-4'] == 0.4 and found['ROUGE-L'] == 0.5
    assert not {'METEOR', 'SPICE'} & set(found)
    assert log[0] == 'METEOR is left out: it failed (BrokenPipeError: pipe)'
    assert log[1].startswith('SPICE is left out: pycocoevalcap lacks spice/lib/stanford')

    def fail(captions):
        raise ValueError('no words')

    monkeypatch.setattr(f'{module}.words', fail)
    assert set(compute(samples(), metrics=['ROUGE'])) == {'CIDEr-D', 'captions'}
    assert 'the tokenizer failed (ValueError: no words)' in log[-1]


def test_no_caption_needs_no_tools():
    scores, left_out = coco_caption_scores.coco_caption_scores({}, {}, PUBLIC)
    assert scores == {} and set(left_out) == set(PUBLIC)


def test_each_image_counts_once():
    repeated = [*samples(), sample(3, 'nonsense'), sample(7, 'nonsense')]
    assert compute(repeated) == compute(samples())


def test_order_and_batches_do_not_matter():
    metric = CaptionMetric(metrics=['CIDEr-D'])
    assert score(metric, samples()[::-1], batch=2) == pytest.approx(score(metric, samples()))


def test_results_of_two_processes_are_merged(monkeypatch):
    found = score_in_two_processes(
        monkeypatch, lambda: CaptionMetric(metrics=['CIDEr-D']), samples()
    )
    assert found == {
        'caption/CIDEr-D': pytest.approx(expected_cider(samples())),
        'caption/captions': 3,
    }


def test_file_for_the_server(tmp_path):
    prefix = tmp_path / 'results/coco'
    compute([*samples(), sample(3, 'once more')], outfile_prefix=prefix)
    written = json.loads((tmp_path / 'results/coco.caption.json').read_text())
    assert written == [
        dict(image_id=3, caption='a red circle and a star'),
        dict(image_id=7, caption='two dogs run fast'),
        dict(image_id=5, caption='a dog sits on a chair'),
    ]


def test_only_the_file(tmp_path):
    found = compute(samples(captions=False), outfile_prefix=tmp_path / 'x', format_only=True)
    assert found == {'captions': 3} and (tmp_path / 'x.caption.json').is_file()


# ------------------------------------------------------------- references
def karpathy(path, splits=('test', 'test', 'val')):
    images = [
        dict(
            filename=f'COCO_val2014_{image:012d}.jpg',
            split=split,
            cocoid=image,
            sentences=[dict(raw=text) for text in texts],
        )
        for (image, texts), split in zip(TEXTS.items(), splits)
    ]
    path.write_text(json.dumps(dict(images=images)))
    return str(path)


def coco(path):
    path.write_text(
        json.dumps(
            dict(
                images=[],
                annotations=[
                    dict(image_id=image, caption=text, id=0)
                    for image, texts in TEXTS.items()
                    for text in texts
                ],
            )
        )
    )
    return str(path)


def test_references_of_files(tmp_path, log):
    files = karpathy(tmp_path / 'k.json'), coco(tmp_path / 'c.json')
    for file in files:
        assert read_references(file) == TEXTS
        assert compute(samples(captions=False), ann_file=file) == compute(samples())
    assert log == []
    assert read_references(files[0], 'val') == {5: TEXTS[5]}
    assert list(read_references(files[0], ['test'])) == [3, 7]
    found = compute(samples(captions=False)[:2], ann_file=files[0])
    assert found == compute(samples()[:2])
    assert log == [f'captions of 2 of the 3 images of {files[0]} are scored']


def test_repeated_references_count_as_in_the_public_evaluation(tmp_path):
    file = tmp_path / 'c.json'
    file.write_text(json.dumps(dict(annotations=[dict(image_id=1, caption='a')] * 2)))
    assert read_references(str(file)) == {1: ['a', 'a']}


def test_references_that_do_not_fit(tmp_path):
    files = karpathy(tmp_path / 'k.json'), coco(tmp_path / 'c.json')
    with pytest.raises(ValueError, match="has no split 'tset' .*'test', 'val'"):
        CaptionMetric(ann_file=files[0], splits='tset')
    with pytest.raises(ValueError, match='has no splits'):
        CaptionMetric(ann_file=files[1], splits='test')
    with pytest.raises(ValueError, match='splits are those of ann_file'):
        CaptionMetric(splits='test')
    with pytest.raises(ValueError, match='k.json has no caption of image 5'):
        compute(samples(captions=False), ann_file=files[0], splits=['test'])
    with pytest.raises(KeyError, match="no 'captions' .*ann_file"):
        compute(samples(captions=False))
    with pytest.raises(FileNotFoundError, match='none.json'):
        CaptionMetric(ann_file=str(tmp_path / 'none.json'))
    (tmp_path / 'other.json').write_text('{"images": [{"filename": "a"}]}')
    with pytest.raises(ValueError, match="other.json: image a has no 'split', 'sentences'"):
        CaptionMetric(ann_file=str(tmp_path / 'other.json'))


def test_other_mistakes():
    with pytest.raises(ValueError, match="unknown metric 'BLUE', choose from CIDEr-D, BLEU"):
        CaptionMetric(metrics='BLUE')
    with pytest.raises(ValueError, match='outfile_prefix must say where'):
        CaptionMetric(format_only=True)
    with pytest.raises(TypeError, match="'outfile_prefix'"):
        CaptionMetric(outfile='x')
    with pytest.raises(KeyError, match="no 'pred_caption' .*CaptionHead"):
        compute([dict(image_id=3, captions=['a'])])
