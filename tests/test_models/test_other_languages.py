"""Both models with the text towers and tokenizers of XLM-R and BERT, from prompts to losses."""

import re

import pytest
import torch
from mmengine.config import Config

from config_files import CONFIGS, build_on_meta
from fiber_mmdet.datasets.transforms.token_budget import TokenBudget
from fiber_mmdet.inspection.data_check import model_tokenizer
from fiber_mmdet.text import PromptError, PromptTokenizer, category_prompt, parse_prompt
from image_text_pairs import build_model, images, model_cfg, samples
from toy_tokenizers import BERT_WORDS, XLMR_WORDS, write_unigram, write_wordpiece

KINDS = {
    'XLM-R': (write_unigram, dict(vocab_size=len(XLMR_WORDS))),
    'BERT': (write_wordpiece, dict(vocab_size=len(BERT_WORDS), pad_id=0, norm_eps=1e-12)),
}
TEXTS = ['图片 of a dog', '狗', 'a photo', '一张图片']


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """The text tower and tokenizer of a config."""
    write, text = KINDS[request.param]
    return dict(text), dict(name_or_path=str(write(tmp_path)), probe='图片')


def test_image_text_model(kind):
    """Captions begin with the tokenizer's own start; nothing generated goes on after its end."""
    text, tokenizer = kind
    heads = dict(
        mlm=dict(type='MLMHead', mask_prob=0.5),
        itc=dict(type='ITCHead', queue_size=4),
        itm=dict(type='ITMHead'),
        caption=dict(type='CaptionHead', max_new_tokens=4),
    )
    cfg = model_cfg(heads)
    cfg.backbone.text.update(text)
    cfg.tokenizer = tokenizer
    model = build_model(cfg)
    records = samples(4, text=TEXTS, captions=[[text] for text in TEXTS])
    losses = model(dict(image=images(4)), records, 'loss')
    total, logged = model.parse_losses(losses)
    total.backward()
    assert {'loss_mlm', 'loss_itc', 'loss_itm', 'loss_caption'} <= set(logged)
    assert all(value.isfinite() for value in logged.values())
    captioner = model.heads.caption.captioner(model)
    words = model.tokenizer.tokenizer
    assert (captioner.start, captioner.special.end) == (words.cls_token_id, words.sep_token_id)
    with torch.no_grad():
        found = model.eval()(dict(image=images(2)), samples(2), 'predict')
    assert all('[SEP]' not in sample.pred_caption for sample in found)


def test_detector(kind, tiny_model_cfg, build):
    """A prompt in Chinese, alone and padded, gives the same boxes."""
    text, tokenizer = kind
    tiny_model_cfg.backbone.text.update(text)
    tiny_model_cfg.tokenizer = tokenizer
    model = build(tiny_model_cfg)
    prompts = [parse_prompt(['图片', '狗']), parse_prompt(['a photo of a red dog', '狗', '图片'])]
    metas = [dict(img_shape=(64, 64), scale_factor=(1.0, 1.0))] * 2
    with torch.no_grad():
        image = model.backbone.encode_image(images(1).expand(2, -1, -1, -1))
        both = model.encode_prompts(prompts)
        padded, _ = model.ground(image, both, metas)
        image = model.backbone.encode_image(images(1))
        (alone,) = model.ground(image, model.encode_prompts(prompts[:1]), metas[:1])
    assert all(len(labels) in (2, 3) and all(labels) for labels in both.label_tokens)
    assert len(alone) == len(padded) > 0
    torch.testing.assert_close(padded.scores, alone.scores, rtol=1e-4, atol=1e-5)


def test_prompts_are_filled_exactly(kind):
    """Names are counted one by one; their sum is the length of the prompt."""
    _, tokenizer = kind
    counts, words = TokenBudget(tokenizer['name_or_path']), PromptTokenizer(**tokenizer)
    for names in (
        ['图片', '狗', 'red dog'],
        ['狗'],
        ['dog', 'a photo of a circle', '一张狗', 'of'],
    ):
        prompt = category_prompt(names)
        assert counts.length(names) == words([prompt]).ids.shape[1], names


def test_tokenizer_of_another_tower(kind, tiny_model_cfg):
    """Found before training, and when the model is built."""
    text, tokenizer = kind
    tiny_model_cfg.tokenizer = tokenizer
    other = dict(text, pad_id=2)
    for settings, message in ((other, 'pads with id'), (dict(text, vocab_size=9), 'only 9 tokens')):
        tiny_model_cfg.backbone.text.update(settings)
        with pytest.raises(PromptError, match=message):
            model_tokenizer(tiny_model_cfg)


def test_config_of_the_page(tmp_path):
    """The example of docs/languages.md loads, as if it lay in configs/coco."""
    page = (CONFIGS.parent / 'docs/languages.md').read_text(encoding='utf-8')
    config = re.search(r'```python\n(_base_.*?)```', page, re.DOTALL)[1]
    (tmp_path / 'mine.py').write_text(config.replace('../_base_', str(CONFIGS / '_base_')))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    tower = build_on_meta(cfg.model).backbone.text
    assert (tower.vocab_size, tower.pad_id, tower.max_tokens) == (250002, 1, 512)
    assert cfg.model.backbone.pretrained.text == cfg.model.tokenizer.name_or_path
    assert cfg.train_dataloader and cfg.val_evaluator
