"""Tokenizers: RoBERTa's known ids, the packaged one, and every way to get it wrong."""

import json
import pickle
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from fiber_mmdet.text import (
    PromptError,
    PromptTokenizer,
    category_prompt,
    hub_answers,
    label_tokens,
    load_tokenizer,
    noun_phrase_prompt,
    whole_prompt,
)

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / 'tools/train_tokenizer.py'

COCO = [
    'person',
    'bicycle',
    'car',
    'motorcycle',
    'airplane',
    'bus',
    'train',
    'truck',
    'boat',
    'traffic light',
    'fire hydrant',
    'stop sign',
    'parking meter',
    'bench',
    'bird',
    'cat',
    'dog',
    'horse',
    'sheep',
    'cow',
    'elephant',
    'bear',
    'zebra',
    'giraffe',
    'backpack',
    'umbrella',
    'handbag',
    'tie',
    'suitcase',
    'frisbee',
    'skis',
    'snowboard',
    'sports ball',
    'kite',
    'baseball bat',
    'baseball glove',
    'skateboard',
    'surfboard',
    'tennis racket',
    'bottle',
    'wine glass',
    'cup',
    'fork',
    'knife',
    'spoon',
    'bowl',
    'banana',
    'apple',
    'sandwich',
    'orange',
    'broccoli',
    'carrot',
    'hot dog',
    'pizza',
    'donut',
    'cake',
    'chair',
    'couch',
    'potted plant',
    'bed',
    'dining table',
    'toilet',
    'tv',
    'laptop',
    'mouse',
    'remote',
    'keyboard',
    'cell phone',
    'microwave',
    'oven',
    'toaster',
    'sink',
    'refrigerator',
    'book',
    'clock',
    'vase',
    'scissors',
    'teddy bear',
    'hair drier',
    'toothbrush',
]


@pytest.fixture(scope='module')
def mini():
    return PromptTokenizer('fiber_mmdet:mini')


@pytest.fixture(scope='module')
def mini_dir():
    return ROOT / 'fiber_mmdet/assets/tokenizer_mini'


@pytest.fixture(scope='module')
def roberta(shared_dir):
    folder = shared_dir / 'roberta-base'
    if not (folder / 'vocab.json').is_file():
        pytest.skip(f'no RoBERTa tokenizer files in {folder}')
    return PromptTokenizer(str(folder), vocab_size=50265)


class TestRoberta:
    """Facts of the published tokenizer (its files are not part of the project)."""

    def test_hello_world(self, roberta):
        assert roberta(['Hello world!']).ids.tolist() == [[0, 31414, 232, 328, 2]]

    def test_case_and_text_are_left_alone(self, roberta):
        ids = roberta(['Dog', 'dog']).ids
        assert ids.shape == (2, 3) and ids[0, 1] != ids[1, 1]

    def test_coco_prompt_has_194_tokens(self, roberta):
        tokens = roberta([category_prompt(COCO)])
        assert tokens.ids.shape == (1, 194) and bool(tokens.mask.all())
        labels = label_tokens(tokens, 0, category_prompt(COCO))
        assert len(labels) == 80 and all(labels)
        assert labels[0] == [1] and labels[-1][-1] == 192

    def test_the_first_class_has_other_tokens_than_later_ones(self, roberta):
        first, later = category_prompt(['dog', 'cat']), category_prompt(['cat', 'dog'])
        tokens = roberta([first, later])
        assert tokens.ids[0, label_tokens(tokens, 0, first)[0]].tolist() == [16319]
        assert tokens.ids[1, label_tokens(tokens, 1, later)[1]].tolist() == [2335]

    def test_vocabulary_is_its_largest_id_not_its_length(self, roberta):
        assert len(roberta.tokenizer) == 50262
        assert (roberta.vocab_size, roberta.pad_id, roberta.mask_id) == (50265, 1, 50264)

    def test_word_table_without_the_mask_row_is_refused(self, roberta):
        with pytest.raises(PromptError, match="50264.*embeds only 50262.*larger than the model's"):
            roberta.check_vocabulary(50262)


def test_batches_are_padded_to_their_longest(mini):
    tokens = mini(['a red circle', category_prompt(['star'])])
    assert tokens.ids.dtype == torch.int64 and tokens.mask.dtype == torch.bool
    assert tokens.ids.shape == tokens.mask.shape == (2, 5) and len(tokens) == 2
    assert tokens.mask.sum(1).tolist() == [5, 3]
    assert tokens.ids[1, 3:].tolist() == [mini.pad_id] * 2
    assert tokens.captions == ('a red circle', 'star')


def test_moving_and_pickling_keep_everything(mini):
    tokens = mini(['a red circle'])
    moved = pickle.loads(pickle.dumps(tokens)).to('meta')
    assert moved.ids.device.type == moved.mask.device.type == 'meta'
    assert moved.encodings[0].char_to_token(2) == 2
    assert tokens.ids.device.type == 'cpu'


def test_too_long_a_caption_is_refused_with_remedies():
    tokenizer = PromptTokenizer('fiber_mmdet:mini', max_tokens=8)
    assert tokenizer(['a red circle and a star']).ids.shape == (1, 8)
    with pytest.raises(
        PromptError, match="'a red circle and a star .* 9 tok.* reads 8: shorten it"
    ):
        tokenizer(['star', 'a red circle and a star on'])
    with pytest.raises(PromptError, match='tokens.* reads 8: set chunked_size'):
        tokenizer([category_prompt(['red circle', 'blue star', 'green ring', 'pink cross'])])
    for prompt in (
        category_prompt(['cat', 'red circle ' * 4]),
        category_prompt(['red circle ' * 4]),
        whole_prompt('red circle ' * 4),
    ):
        with pytest.raises(
            PromptError, match="'red circle .* alone takes .* 8: shorten it"
        ) as error:
            tokenizer([prompt])
        assert 'chunked_size' not in str(error.value)
    with pytest.raises(PromptError, match='chunks are for names only'):
        tokenizer([noun_phrase_prompt('a red circle left of a blue square and a star')])


def test_half_characters_are_named():
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    with pytest.raises(PromptError, match='half a character .* position 2'):
        tokenizer(['a \ud83d dog'])


def test_truncation_keeps_both_special_tokens_and_leaves_no_trace():
    tokenizer = PromptTokenizer('fiber_mmdet:mini', max_tokens=8)
    tokens = tokenizer(['star ' * 50], truncate=True)
    assert tokens.ids.shape == (1, 8)
    assert tokens.ids[0, 0] == 0 and tokens.ids[0, -1] == 2
    assert tokens.encodings[0].char_to_token(200) is None
    # the transformers object is shared and remembers truncation
    assert PromptTokenizer('fiber_mmdet:mini')(['star ' * 50]).ids.shape[1] > 50


@pytest.mark.parametrize('prompts', ['a cat', [], category_prompt(['cat']), ['a cat', None]])
def test_only_batches_are_accepted(mini, prompts):
    with pytest.raises(PromptError, match='non-empty list'):
        mini(prompts)


def test_packaged_tokenizer_is_laid_out_like_roberta(mini):
    assert mini.vocab_size == len(mini.tokenizer) == 1200
    names = mini.tokenizer.convert_ids_to_tokens(list(range(5)))
    assert names == ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
    assert (mini.pad_id, mini.mask_id) == (1, 4)
    assert mini.tokenizer('a<mask> circle')['input_ids'].count(4) == 1
    mini.check_vocabulary(1200)
    with pytest.raises(PromptError, match='vocab_size=1200'):
        mini.check_vocabulary(1199)


@pytest.mark.parametrize(
    'word',
    'a the red cyan circle rings small two left above checkered '
    'How how dog pizza skateboard man with'.split(),
)
def test_packaged_tokenizer_knows_common_words_at_once(mini, word):
    for text in (word, f' {word}'):
        assert len(mini.tokenizer(text)['input_ids']) == 3


def test_packaged_tokenizer_reads_any_text_back(mini):
    text = 'Über 3½ unicorns, naïve café 😀 日本!'
    ids = mini([text]).ids[0]
    assert 3 not in ids
    assert mini.tokenizer.decode(ids.tolist(), skip_special_tokens=True) == text


def test_every_coco_name_has_tokens_of_its_own(mini):
    prompt = category_prompt(COCO)
    labels = label_tokens(mini([prompt]), 0, prompt)
    assert len({token for tokens in labels for token in tokens}) == sum(map(len, labels))


def test_training_again_gives_the_packaged_files(mini_dir, tmp_path, monkeypatch):
    if not TRAINER.is_file():
        pytest.skip('no tools beside the tests')
    monkeypatch.setattr(sys, 'argv', [TRAINER.name, '--out', str(tmp_path)])
    runpy.run_path(str(TRAINER))['main']()
    for name in ('vocab.json', 'merges.txt'):
        assert (tmp_path / name).read_bytes() == (mini_dir / name).read_bytes()


def test_loading_is_remembered(mini_dir):
    assert load_tokenizer('fiber_mmdet:mini') is load_tokenizer('fiber_mmdet:mini')
    assert (
        load_tokenizer(str(mini_dir)).get_vocab() == load_tokenizer('fiber_mmdet:mini').get_vocab()
    )


def test_directory_with_tokenizer_json_only(mini, tmp_path):
    mini.tokenizer.backend_tokenizer.save(str(tmp_path / 'tokenizer.json'))
    loaded = PromptTokenizer(str(tmp_path))
    assert loaded(['a red circle.']).ids.tolist() == mini(['a red circle.']).ids.tolist()


@pytest.mark.parametrize(
    'name, message',
    [
        ('fiber_mmdet:huge', "'fiber_mmdet:huge' is not part.*fiber_mmdet:mini"),
        ('./no/such/folder', 'directory .* does not exist'),
        ('/no-such-folder', 'directory .* does not exist'),
        ('nobody/no-such-tokenizer', 'neither a directory here nor reachable.*offline'),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(PromptError, match=message):
        load_tokenizer(name)


@pytest.mark.parametrize('proxies, answer', [({}, False), ({'https': 'proxy:8080'}, True)])
def test_hub_is_asked_once_whether_it_is_there(monkeypatch, proxies, answer):
    asked = []

    def refuse(address, timeout):
        asked.append(address)
        raise OSError('no network')

    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    monkeypatch.setattr('socket.create_connection', refuse)
    monkeypatch.setattr('fiber_mmdet.text.tokenizer_files.getproxies', lambda: proxies)
    assert hub_answers() is answer
    assert asked == ([] if proxies else [('huggingface.co', 443)])


def test_directory_without_the_files(mini_dir, tmp_path):
    shutil.copy(mini_dir / 'vocab.json', tmp_path)
    with pytest.raises(PromptError, match='lacks vocab.json and merges.txt'):
        load_tokenizer(str(tmp_path))


def test_files_of_another_kind_of_tokenizer(mini_dir, tmp_path):
    shutil.copy(mini_dir / 'merges.txt', tmp_path)
    vocab = json.loads((mini_dir / 'vocab.json').read_text(encoding='utf-8'))
    vocab['<s>'], vocab['<pad>'] = vocab['<pad>'], vocab['<s>']
    (tmp_path / 'vocab.json').write_text(json.dumps(vocab), encoding='utf-8')
    with pytest.raises(PromptError, match='not laid out like RoBERTa'):
        load_tokenizer(str(tmp_path))


def test_files_without_words(mini_dir, tmp_path):
    (tmp_path / 'merges.txt').write_text('#version: 0.2\n')
    (tmp_path / 'vocab.json').write_text(
        '{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}'
    )
    with pytest.raises(PromptError, match='vocabulary is empty'):
        load_tokenizer(str(tmp_path))


def test_damaged_files(mini_dir, tmp_path):
    shutil.copy(mini_dir / 'merges.txt', tmp_path)
    (tmp_path / 'vocab.json').write_text('{')
    with pytest.raises(PromptError, match='cannot be read'):
        load_tokenizer(str(tmp_path))


def test_threads_do_not_cut_each_others_prompts(many_threads):
    short, long = (PromptTokenizer('fiber_mmdet:mini', max_tokens=n) for n in (10, 256))
    text = 'a red circle ' * 20
    length = long([text]).ids.shape[1]

    def ask(thread):
        return {
            short([text], truncate=True).ids.shape[1] if thread % 2 else long([text]).ids.shape[1]
            for _ in range(300)
        }

    for thread, found in enumerate(many_threads(ask, 4)):
        assert found == {10 if thread % 2 else length}
