"""Tokenizers of other kinds than RoBERTa's: read as what they are, or refused with the reason."""

import json
import logging
import pickle
import shutil

import pytest

from fiber_mmdet.text import (
    PromptError,
    PromptTokenizer,
    build_tokenizer,
    category_prompt,
    label_tokens,
    load_tokenizer,
)
from toy_tokenizers import BERT_WORDS, XLMR_WORDS, write_unigram, write_wordpiece

MINI = load_tokenizer('fiber_mmdet:mini')


def words(tokenizer, text):
    return tokenizer.tokenizer.convert_ids_to_tokens(tokenizer([text]).ids[0].tolist())


@pytest.mark.parametrize(
    'files',
    [
        {},
        dict(tokenizer_config=dict(tokenizer_class='XLMRobertaTokenizerFast')),
        dict(tokenizer_config=None, config=dict(model_type='xlm-roberta')),
        dict(tokenizer_config=None),
    ],
    ids=['named', 'named fast', 'by its model', 'bare'],
)
def test_unigram(tmp_path, files):
    """Once, this was read as byte-level BPE without merges, and Chinese vanished."""
    tokenizer = PromptTokenizer(str(write_unigram(tmp_path, **files)), probe='一张图片')
    assert words(tokenizer, '图片 of a dog') == '<s> ▁ 图片 ▁of ▁a ▁dog </s>'.split()
    assert (tokenizer.start_id, tokenizer.pad_id, tokenizer.end_id) == (0, 1, 2)
    assert tokenizer.mask_id == tokenizer.vocab_size - 1 == len(XLMR_WORDS) - 1
    prompt = category_prompt(['图片', '狗'])
    assert label_tokens(tokenizer([prompt]), 0, prompt) == [[2], [5]]
    assert pickle.loads(pickle.dumps(tokenizer([prompt]))).encodings[0].char_to_token(4) == 5


@pytest.mark.parametrize(
    'files',
    [
        {},
        dict(config=dict(model_type='bert')),
        dict(tokenizer_config=dict(tokenizer_class='BertTokenizer')),
        dict(tokenizer_config=None),
    ],
    ids=['settings', 'by its model', 'named', 'bare'],
)
def test_wordpiece(tmp_path, files):
    tokenizer = PromptTokenizer(str(write_wordpiece(tmp_path, **files)))
    assert words(tokenizer, '图片 of red Dogs') == '[CLS] 图 片 of red dog ##s [SEP]'.split()
    assert (tokenizer.start_id, tokenizer.pad_id, tokenizer.end_id) == (2, 0, 3)
    assert tokenizer.mask_id == 4 and tokenizer.tokenizer.bos_token_id is None
    assert tokenizer(['dog', 'a red dog']).ids.tolist() == [[2, 10, 3, 0, 0], [2, 5, 8, 10, 3]]
    prompt = category_prompt(['图片', 'dogs'])
    assert label_tokens(tokenizer([prompt]), 0, prompt) == [[1, 2], [4, 5]]


def test_byte_level_bpe_with_its_own_class(tmp_path):
    MINI.save_pretrained(tmp_path)
    assert 'tokenizer_class' in json.loads((tmp_path / 'tokenizer_config.json').read_text())
    text = 'a red circle, 图片'
    assert PromptTokenizer(str(tmp_path))([text]).ids.tolist() == [MINI(text)['input_ids']]


@pytest.mark.parametrize('probe', ['a photo of 狗', '一张图片'])
def test_a_language_that_is_not_known(tmp_path, probe):
    """Letters without a piece become one unknown token; the check says which are lost."""
    folder = write_unigram(tmp_path, [w for w in XLMR_WORDS if w.isascii() or '▁' in w])
    PromptTokenizer(str(folder))
    with pytest.raises(PromptError, match="reads '.*' back as .* loses .*probe='…' sets another"):
        PromptTokenizer(str(folder), probe=probe)


def test_case_and_accents_may_be_folded(tmp_path):
    folder = write_wordpiece(tmp_path)
    PromptTokenizer(str(folder), probe='Á  PHOTO')
    with pytest.raises(PromptError, match='no letters'):
        PromptTokenizer(str(folder), probe=' \u0301')


def test_another_language_than_english_needs_its_own_probe(tmp_path):
    folder = write_wordpiece(tmp_path, [w for w in BERT_WORDS if w[0] == '[' or not w.isascii()])
    with pytest.raises(PromptError, match="'a photo' back as ''"):
        PromptTokenizer(str(folder))
    assert words(PromptTokenizer(str(folder), probe='图'), '狗') == ['[CLS]', '狗', '[SEP]']


def test_words_without_a_token_are_warned_of_once(tmp_path, caplog):
    tokenizer = PromptTokenizer(str(write_wordpiece(tmp_path)))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tokenizer(['a dog', 'a zebra'])
    (record,) = caplog.records
    assert "'a zebra'" in record.getMessage() and '[UNK]' in record.getMessage()


@pytest.mark.parametrize(
    'files',
    [
        dict(tokenizer_config=dict(tokenizer_class='RobertaTokenizer')),
        dict(tokenizer_config=None, config=dict(model_type='roberta')),
    ],
    ids=['named wrongly', 'of another model'],
)
def test_files_of_different_tokenizers(tmp_path, files):
    """RoBERTa's class makes BPE of any vocabulary (transformers 5), or reads the file."""
    folder = str(write_unigram(tmp_path, **files))
    try:
        tokenizer = load_tokenizer(folder)
    except PromptError as error:
        assert 'tokenizer.json is Unigram, but RobertaTokenizer' in str(error)
        assert 'would read it as BPE' in str(error)
    else:
        assert '图片' in tokenizer.convert_ids_to_tokens(tokenizer('图片')['input_ids'])


def test_special_tokens_that_are_not_named(tmp_path):
    settings = dict(tokenizer_class='PreTrainedTokenizerFast', pad_token='<pad>')
    message = r'\(Unigram.*does not say which token is its .*mask.*cls.*copy tokenizer_config.json'
    with pytest.raises(PromptError, match=message):
        load_tokenizer(str(write_unigram(tmp_path, tokenizer_config=settings)))


def test_a_tokenizer_without_special_tokens(tmp_path):
    """GPT-2's kind: byte-level BPE as well, but nothing begins or ends a text."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(MINI.backend_tokenizer.to_str())
    backend.save(str(tmp_path / 'tokenizer.json'))
    names = dict.fromkeys(('bos_token', 'eos_token', 'unk_token', 'pad_token'), '</s>')
    settings = dict(tokenizer_class='GPT2Tokenizer', **names)
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings))
    with pytest.raises(PromptError, match=r'\(BPE.* does not say which token is its mask'):
        load_tokenizer(str(tmp_path))


def test_padding_of_the_tower(tmp_path):
    cfg = dict(name_or_path=str(write_wordpiece(tmp_path)))
    build_tokenizer(cfg, PromptTokenizer, vocab_size=len(BERT_WORDS), pad_id=0)
    with pytest.raises(PromptError, match='pads with id 0, .*takes id 1.*pad_id=0'):
        build_tokenizer(cfg, PromptTokenizer, pad_id=1)


def test_files_for_a_name_of_the_hub(tmp_path, monkeypatch):
    """What the cache holds of a name is read by its kind too."""
    folder = write_unigram(tmp_path / 'cached')
    asked = []

    def snapshot(name, allow_patterns, local_files_only):
        asked.append((name, local_files_only))
        return str(folder)

    monkeypatch.setattr('huggingface_hub.snapshot_download', snapshot)
    tokenizer = PromptTokenizer('somebody/multilingual', probe='图片')
    assert '图片' in words(tokenizer, '图片')
    assert asked == [('somebody/multilingual', True)]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(PromptError, match="'somebody/empty' is neither"):
        load_tokenizer('somebody/empty')


@pytest.mark.parametrize('content', ['', '<html>Sign in</html>'])
def test_a_vocabulary_that_is_none(tmp_path, content):
    write_wordpiece(tmp_path, config=dict(model_type='bert'))
    (tmp_path / 'vocab.txt').write_text(content)
    with pytest.raises(PromptError, match='cannot be read'):
        PromptTokenizer(str(tmp_path))
