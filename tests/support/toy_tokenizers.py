"""Directories with small tokenizers of each kind, in the form in which models are published."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

BERT_WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] a photo of red circle dog ##s . 图 片 一 张 狗'.split()
PIECES = '▁a ▁photo ▁ ▁of ▁dog 图片 一张 狗 . a p h o t d g s f r e c i l'.split()
XLMR_WORDS = ['<s>', '<pad>', '</s>', '<unk>', *PIECES, '<mask>']


def write_unigram(folder: Path, words: list[str] = XLMR_WORDS, **files) -> Path:
    """XLM-R's kind: tokenizer.json with Unigram pieces, by default with the class's name.

    Args:
        folder: made if it is not there.
        words: the special tokens in XLM-R's order, pieces, and the mask.
        files: settings of ``tokenizer_config`` and ``config``; None leaves a file out.
    """
    special = {'<s>', '<pad>', '</s>', '<unk>', '<mask>'}
    tokenizer = Tokenizer(
        models.Unigram([(w, 0.0 if w in special else -1.0 - 1 / len(w)) for w in words], unk_id=3)
    )
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', special_tokens=[('<s>', 0), ('</s>', 2)]
    )
    tokenizer.add_special_tokens(sorted(special, key=words.index))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / 'tokenizer.json'))
    return _settings(
        folder, dict(tokenizer_config=dict(tokenizer_class='XLMRobertaTokenizer')) | files
    )


def write_wordpiece(folder: Path, words: list[str] = BERT_WORDS, **files) -> Path:
    """BERT's kind: vocab.txt, by default with a tokenizer_config.json without a class."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vocab.txt').write_text('\n'.join(words) + '\n', encoding='utf-8')
    return _settings(folder, dict(tokenizer_config=dict(do_lower_case=True)) | files)


def _settings(folder: Path, files: dict) -> Path:
    for name, settings in files.items():
        if settings is not None:
            (folder / f'{name}.json').write_text(json.dumps(settings), encoding='utf-8')
    return folder
