"""Tokenizers by their names on the hub."""

import pytest

from fiber_mmdet.text import PromptError, PromptTokenizer, load_tokenizer
from toy_tokenizers import write_unigram, write_wordpiece


def serve(hub, repo, folder):
    for file in folder.iterdir():
        hub.add(repo, file.name, file.read_bytes())
    hub.add(repo, 'model.safetensors', b'weights, which a tokenizer does not need')


def test_other_kinds_than_robertas(tmp_path, bare_hub):
    """Of a name, too, the files say what it is; afterwards no network is needed."""
    serve(bare_hub, 'somebody/xlm', write_unigram(tmp_path / 'a'))
    serve(bare_hub, 'somebody/bert', write_wordpiece(tmp_path / 'b', config={'model_type': 'bert'}))
    for name, ids in (('xlm', [0, 6, 9, 2]), ('bert', [2, 13, 14, 3])):
        tokenizer = PromptTokenizer(f'somebody/{name}', probe='图片')
        assert tokenizer(['图片']).ids.tolist() == [ids]
    assert not any('safetensors' in path for _, path, _ in bare_hub.requests)
    bare_hub.stop()
    load_tokenizer.cache_clear()
    assert PromptTokenizer('somebody/xlm', probe='图片')(['图片']).ids.tolist() == [[0, 6, 9, 2]]
    load_tokenizer.cache_clear()
    with pytest.raises(PromptError, match="'somebody/other' is neither a directory here nor"):
        load_tokenizer('somebody/other')


def test_a_name_without_a_tokenizer(bare_hub):
    bare_hub.add('somebody/weights', 'config.json', b'{}')
    for name in ('weights', 'nothing'):
        with pytest.raises(PromptError, match=f"'somebody/{name}' is neither"):
            load_tokenizer(f'somebody/{name}')
