"""OmniLabel: label spaces in prompts as DesCo asks them, whose labels lead back to descriptions."""

import pytest

from fiber_mmdet.datasets import OmniLabelDataset
from fiber_mmdet.datasets.detection.omnilabel import questions
from fiber_mmdet.inspection.source_check import collected_log
from fiber_mmdet.text import PromptTokenizer, label_tokens, prompt_passes
from omnilabel_json import write_omnilabel

BEAR = 'The white teddy bear with the red tag on his ear.'
TEXTS = {
    30: ('PERSON', ['b', 'a']),
    10: (BEAR, ['a']),
    20: ('a man', ['a']),
    25: ('red_car (old)', ['a']),
    21: ('a man', ['a', 'c']),
}
A, B = [1, 2, 11, 22], [5, 5, 9, 9]


def captions(texts, *args):
    words, sizes = questions(texts, *args)
    names = [f'label {i}' for i in range(len(texts))]
    return [
        (prompt.caption, [prompt.caption[b:e] for ((b, e),) in prompt.spans])
        for prompt in prompt_passes(names, True, None, words, sizes)
    ]


def dataset(tmp_path, texts=TEXTS, boxes=(), images=('b', 'a', 'c', 'd'), **kwargs):
    change = kwargs.pop('change', lambda content: None)
    file = write_omnilabel(tmp_path / 'a.json', texts, boxes, images, change)
    kwargs = {'test_mode': True, **kwargs}
    return OmniLabelDataset(
        data_root=str(tmp_path), ann_file=file, data_prefix=dict(img='i'), pipeline=[], **kwargs
    )


# ------------------------------------------------------------------- questions
def test_a_long_text_is_asked_for_alone():
    prompt = 'Detect: The white teddy bear with the red tag on his ear'
    assert captions([BEAR]) == [(prompt, [BEAR[:-1]])]
    assert captions(['a dog', BEAR]) == [
        (f'Detect: a dog. {BEAR[:-1]}', ['a dog', BEAR[:-1]])  # beside a short one
    ]
    assert captions([BEAR, 'a dog', 'cat.'], '') == [
        (BEAR[:-1], [BEAR[:-1]]),
        ('a dog. cat', ['a dog', 'cat']),
    ]


def test_tokens_of_a_description(shared_dir):
    """The example of the reference: 16 tokens, of which 3 to 14 are the description's."""
    tokenizer = PromptTokenizer(str(shared_dir / 'roberta-base'))
    (prompt,) = prompt_passes(['bear'], True, None, *questions([BEAR]))
    tokens = tokenizer([prompt])
    assert int(tokens.mask.sum()) == 16 and prompt.spans == (((8, len(prompt.caption)),),)
    assert label_tokens(tokens, 0, prompt) == [list(range(3, 15))]


def test_twenty_at_a_time():
    texts = [f'word {i}' for i in range(45)]
    texts[21] = 'three of them'  # in the middle of the second twenty
    texts[40] = 'three of those'
    assert questions(texts)[1] == [20, 20, 1, 4]
    # 21 and 40 begin a prompt
    assert questions(texts, chunk_size=3)[1] == [3] * 7 + [1] + [3] * 6 + [1, 3, 1]
    found = captions(texts)
    assert [caption.startswith('Detect: word') for caption, _ in found] == [1, 1, 0, 1]
    assert sum((spans for _, spans in found), []) == texts


@pytest.mark.parametrize(
    'text, asked, span',
    [
        ('red_car (old)..', 'red_car (old).', 'red_car (old).'),
        ('.', '.', '.'),
        ('two  words', 'two  words', 'two  words'),
        ('adze, a kind of tool, sharp.', 'adze, a kind of tool, sharp', 'adze'),
        ('a kind of tool', 'a kind of tool', 'a kind of tool'),
        (', a kind of tool', ', a kind of tool', ', a kind of tool'),
    ],
)
def test_texts_stay_as_they_are(text, asked, span):
    assert captions([text]) == [(f'Detect: {asked}', [span])]


# --------------------------------------------------------------------- dataset
def test_samples(tmp_path):
    boxes = [('a', A, [20, 21, 30]), ('a', B, [10], True), ('b', B, [30])]
    found = dataset(tmp_path, boxes=boxes)
    assert [found[i]['img_id'] for i in range(len(found))] == ['b', 'a', 'c']  # nothing on d
    info = found[1]
    assert info['description_ids'] == [30, 10, 20, 25, 21]  # the order of the file
    assert info['text'] == ['PERSON', BEAR, 'a man', 'red_car (old)', 'a man (2)']
    assert info['chunk_sizes'] == [5] and info['custom_entities']
    assert info['img_path'] == f'{tmp_path}/i/a.jpg'
    assert [(i['bbox_label'], i['bbox'], i['ignore_flag']) for i in info['instances']] == [
        (2, A, 0),
        (4, A, 0),
        (0, A, 0),
        (1, B, 1),
    ]
    assert found[0]['description_ids'] == [30] and found[2]['text'] == ['a man']
    plain = dataset(tmp_path, prefix='', chunk_size=2, lazy_init=True)
    plain.full_init()
    info = plain.get_data_info(1)
    assert info['chunk_sizes'] == [2, 2, 1]
    (first, *_) = prompt_passes(
        info['text'], True, None, info['caption_prompt'], info['chunk_sizes']
    )
    assert first.caption == f'PERSON. {BEAR[:-1]}' and first.phrases == ('PERSON', BEAR)


def test_a_part_of_a_dataset_keeps_its_texts(tmp_path):
    found = dataset(tmp_path, indices=[2])
    assert len(found) == 1 and found[0]['description_ids'] == [21]
    assert dataset(tmp_path).get_subset([0, 1])[1]['description_ids'] == [30, 10, 20, 25, 21]


def test_what_does_not_fit_is_left_out_and_said(tmp_path):
    def change(content):
        content['descriptions'][0]['image_ids'] += ['a', 'elsewhere', 'c']

    with collected_log() as messages:
        found = dataset(tmp_path, boxes=[('a', A, [20, 99]), ('c', B, [30, 25])], change=change)
        found.full_init()
    assert found[2]['description_ids'] == [30, 21]
    assert [i['bbox_label'] for i in found[2]['instances']] == [0]
    text = '\n'.join(messages)
    assert '1 image_ids of descriptions' in text and '2 description_ids of boxes' in text
    assert '1 of 4 images are left out' in text


def test_test_sets_have_neither_boxes_nor_types(tmp_path):
    def change(content):
        content.pop('annotations')
        for text in content['descriptions']:
            text.pop('anno_info')

    found = dataset(tmp_path, change=change)
    assert len(found) == 3 and found[1]['instances'] == []


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.pop('descriptions'), "has no list 'descriptions'"),
        (lambda c: c['descriptions'][1].update(id=30), '2 descriptions have the id 30'),
        (lambda c: c['descriptions'][1].update(text=' '), 'description 10 has text'),
        (lambda c: c['descriptions'][1].pop('image_ids'), "description 10 has no 'image_ids'"),
        (lambda c: c['descriptions'][1].update(anno_info={}), 'anno_info of description 10'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, 3]), 'annotation 0 has bbox'),
        (lambda c: c['annotations'][0].update(image_id='z'), "annotation 0 belongs to image 'z'"),
        (
            lambda c: c['annotations'][0].update(description_ids=['20']),
            'none of its 1 boxes .*it is text here, those are numbers',
        ),
        (
            lambda c: [text.update(image_ids=[7]) for text in c['descriptions']],
            'no description lists one of the images',
        ),
        (lambda c: c['images'][1].update(file_name='../a.jpg'), 'leaves the data folder'),
    ],
)
def test_errors_name_the_record(tmp_path, change, message):
    with pytest.raises(ValueError, match=f'a.json.*{message}'):
        dataset(tmp_path, boxes=[('a', A, [20])], change=change).full_init()


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(chunk_size=0), 'chunk_size=0'),
        (dict(test_mode=False), 'no training set'),
        (dict(caption_prompt={}), 'prefix and chunk_size'),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        dataset(tmp_path, **options)
