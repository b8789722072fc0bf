"""The page on new captioning objectives: its code runs as it stands."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from fiber_mmdet.models.image_text.captioner import Captioner
from fiber_mmdet.models.image_text.heads import CaptionObjective
from image_text_pairs import TEXTS, build_model, images, model_cfg, samples

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / 'docs/extending/captioning_objective.md').read_text(encoding='utf-8')
OBJECTIVE, CONFIG = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
CAPTIONS = [[TEXTS[0], 'one red circle'], [TEXTS[2]], [TEXTS[6], 'an arrow']]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The model of the page's config, at a tiny size."""
    (tmp_path / 'word_overlap.py').write_text(OBJECTIVE)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(CHECKOUT / 'configs', tmp_path / 'configs')
    file = tmp_path / 'configs/scenes/my_captioning.py'
    file.write_text(CONFIG)
    cfg = Config.fromfile(file)
    yield build_model(model_cfg(cfg.model.heads))
    sys.modules.pop('word_overlap', None)
    MODELS.module_dict.pop('WordOverlapLoss', None)


def pairs():
    records = samples(3, text=[captions[0] for captions in CAPTIONS], captions=CAPTIONS)
    return dict(image=images(3)), records


def test_example(model, monkeypatch):
    tokenizer = model.tokenizer.tokenizer

    def tokens(*texts):
        return tokenizer(list(texts), padding=True, return_tensors='pt').input_ids[:, 1:]

    sampled = ('a circle', 'two blue rings', 'an arrow')
    monkeypatch.setattr(Captioner, 'sample', lambda self, states: tokens(*sampled))
    monkeypatch.setattr(
        Captioner, 'greedy', lambda self, states: tokens('one circle', 'rings', 'a')
    )
    found = model(*pairs(), mode='loss')
    assert set(found) == {'loss_caption', 'caption_reward', 'caption_baseline'}
    rewards = torch.tensor([2 / 3, 2 / 3, 1.0])
    baselines = torch.tensor([2 / 3, 1 / 2, 0.0])
    torch.testing.assert_close(found['caption_reward'], rewards.mean())
    torch.testing.assert_close(found['caption_baseline'], baselines.mean())

    captioner = model.heads.caption.captioner(model)
    states = captioner.encode(model.encode_image(images(3)))
    total = 0
    for row, text in enumerate(sampled):  # mean log-probability of each sampled caption
        ids = torch.tensor([tokenizer(text).input_ids] * 3)
        logits = captioner.decoder.logits(states, ids)[row].log_softmax(-1)
        log_prob = logits[:-1].gather(1, ids[0, 1:, None]).mean()
        total = total - (rewards - baselines)[row] * log_prob / 3
    mle = captioner.score(states, *model.tokenize([captions[0] for captions in CAPTIONS])).mean()
    torch.testing.assert_close(found['loss_caption'], 0.5 * mle + 0.5 * total, rtol=1e-4, atol=1e-4)
    found['loss_caption'].backward()
    assert model.words.decoder.weight.grad.any()


def test_example_as_it_is(model):
    """Samples, greedy captions and predictions of the model itself."""
    found = model(*pairs(), mode='loss')
    assert 0 <= found['caption_reward'] <= 1 and found['loss_caption'].requires_grad
    with torch.no_grad():
        assert set(model.eval()(*pairs(), mode='loss')) == {'loss_caption'}
        predicted = model(*pairs(), mode='predict')
    assert all(isinstance(record.pred_caption, str) for record in predicted)
    assert not any('objective' in key for key in model.state_dict())


def test_parameters_of_an_objective_belong_to_the_head():
    @MODELS.register_module()
    class Scaled(CaptionObjective):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def loss(self, captioner, batch):
            states = captioner.encode(batch.image())
            return dict(loss=self.scale * captioner.score(states, *batch.tokens).mean())

    try:
        heads = dict(caption=dict(type='CaptionHead', objective=dict(type='Scaled')))
        model = build_model(model_cfg(heads))
    finally:
        MODELS.module_dict.pop('Scaled')
    assert 'heads.caption.objective.scale' in model.state_dict()
    model(*pairs(), mode='loss')['loss_caption'].backward()
    assert model.heads.caption.objective.scale.grad > 0


def test_page_names_what_there_is(model):
    rows = PAGE.partition('| `captioner.` |')[2].partition('\n\n')[0].splitlines()[2:]
    names = [name for row in rows for name in re.findall(r'`(\w+)', row.split('|')[1])]
    assert len(names) == 12 and all(hasattr(model.heads.caption.captioner(model), n) for n in names)
