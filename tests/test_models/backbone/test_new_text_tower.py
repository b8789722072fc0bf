"""The page on text towers of one's own: its code runs as it stands."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.datasets.transforms.token_budget import TokenBudget
from fiber_mmdet.inspection.data_check import model_tokenizer
from fiber_mmdet.models.backbone import TextTower
from fiber_mmdet.text import PromptError, build_tokenizer, parse_prompt
from image_text_pairs import TEXTS, images, model_cfg, samples

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / 'docs/extending/text_tower.md').read_text(encoding='utf-8')
TOWER, CONFIG = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's module can be imported; its config, in a folder with the files that it names."""
    (tmp_path / 'word_tower.py').write_text(TOWER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = sorted({word for text in TEXTS for word in re.findall(r'\w+', text)})
    (tmp_path / 'words.txt').write_text('\n'.join(words))
    torch.save(dict(vectors=torch.randn(40, 128)), tmp_path / 'vectors.pth')
    shutil.copytree(CHECKOUT / 'configs', tmp_path / 'configs')
    file = tmp_path / 'configs/scenes/my_pretrain.py'
    file.write_text(CONFIG)
    yield Config.fromfile(file)
    sys.modules.pop('word_tower', None)
    MODELS.module_dict.pop('WordTower', None)
    TASK_UTILS.module_dict.pop('WordTokenizer', None)


def built(cfg):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


def test_image_text_model(page, monkeypatch):
    """The page's tower under its objectives, with a small image tower."""
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    cfg = model_cfg(dict(page.model.heads, caption=dict(type='CaptionHead', max_new_tokens=4)))
    cfg.backbone.text = page.model.backbone.text
    cfg.backbone.pretrained = page.model.backbone.pretrained
    cfg.tokenizer = page.model.tokenizer
    model = built(cfg)
    model.init_weights()
    tower = model.backbone.text
    assert type(tower).__name__ == 'WordTower' and len(tower.layers) == 4
    vectors = torch.load('vectors.pth')['vectors']
    assert torch.equal(tower.word.weight, vectors)
    (log,) = (line for line in lines if line.startswith('text tower: 1 weights loaded from'))
    assert 'backbone.text.position.weight' in log.split('kept fresh (')[1]

    tokens = model.tokenizer(['a red circle', 'two zebras'])
    words = ['<s>', 'a', 'red', 'circle', '</s>', '<s>', 'two', '<unk>', '</s>', '<pad>']
    assert model.tokenizer.tokenizer.convert_ids_to_tokens(tokens.ids.flatten()) == words
    losses = model(
        dict(image=images(4)), samples(4, captions=[[text] for text in TEXTS[:4]]), 'loss'
    )
    total, logged = model.parse_losses(losses)
    total.backward()
    assert {'loss_mlm', 'loss_itc', 'loss_itm', 'loss_caption'} <= set(logged)
    assert tower.word.weight.grad.abs().sum() > 0
    with torch.no_grad():
        found = model.eval()(dict(image=images(2)), samples(2), 'predict')
    assert all('pred_match' in sample for sample in found)


def test_detector(page, tiny_model_cfg):
    tiny_model_cfg.backbone.text = dict(page.model.backbone.text, dim=32, num_layers=3)
    tiny_model_cfg.backbone.pretrained = None
    tiny_model_cfg.tokenizer = page.model.tokenizer
    model = built(tiny_model_cfg).eval()
    assert type(model.tokenizer).__name__ == 'WordTokenizer'
    prompts = [parse_prompt(['red circle', 'star'])]
    with torch.no_grad():
        prefixes = model.backbone.encode_image(images(1)), model.encode_prompts(prompts)
        (found,) = model.ground(*prefixes, [dict(img_shape=(64, 64), scale_factor=(1.0, 1.0))])
    assert prefixes[1].label_tokens == [[[1, 2], [4]]] and found.bboxes.shape[1] == 4


def test_data_inspection_and_token_counts(page):
    """They ask the class, without a model."""
    tokenizer = model_tokenizer(page.model)
    assert type(tokenizer).__name__ == 'WordTokenizer' and tokenizer.max_tokens == 50
    budget = TokenBudget('words.txt', type='WordTokenizer')
    assert budget.length(['red circle', 'star']) == tokenizer(['red circle. star']).ids.shape[1]


def test_weights_that_do_not_fit_are_listed(page):
    torch.save(dict(vectors=torch.zeros(41, 128)), 'vectors.pth')
    backbone = built(dict(page.model.backbone, image=model_cfg({}).backbone.image))
    with pytest.raises(ConversionError, match=r'word.weight: \(41, 128\), .* \(40, 128\)'):
        backbone.init_weights()


def test_unknown_types():
    with pytest.raises(KeyError, match="backbone.text.type='WordTowr'"):
        built(dict(type='FIBERBackbone', text=dict(type='WordTowr')))
    with pytest.raises(PromptError, match="tokenizer type 'WordTokenzer'"):
        build_tokenizer(dict(type='WordTokenzer', name_or_path=''), TextTower.tokenizer_class)


def test_default_by_its_name():
    named = built(model_cfg({'itc': dict(type='ITCHead', queue_size=0)}))
    cfg = model_cfg({'itc': dict(type='ITCHead', queue_size=0)})
    cfg.backbone.text.type = 'TextTower'
    cfg.tokenizer.type = 'PromptTokenizer'
    again = built(cfg)
    assert list(named.state_dict()) == list(again.state_dict())
    assert type(again.tokenizer) is type(named.tokenizer)
