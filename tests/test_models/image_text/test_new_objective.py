"""The page on objectives of one's own: its code runs as it stands."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from fiber_mmdet.models.image_text import EncodedBatch
from image_text_pairs import images, model_cfg, samples

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / 'docs/new_objective.md').read_text(encoding='utf-8')
HEAD, CONFIG, INCLUDED = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """``load(text)``: a config beside those on scenes, its model at tiny sizes."""
    (tmp_path / 'margin_head.py').write_text(HEAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(CHECKOUT / 'configs', tmp_path / 'configs')

    def load(text):
        file = tmp_path / 'configs/scenes/my_pretrain.py'
        file.write_text(text)
        cfg = Config.fromfile(file)
        assert cfg.load_from is None  # what the base starts from is not there
        tiny = model_cfg(cfg.model.heads)
        tiny.predict_with = cfg.model.get('predict_with')
        with DefaultScope.overwrite_default_scope('mmdet'):
            return MODELS.build(tiny)

    yield load
    sys.modules.pop('margin_head', None)
    MODELS.module_dict.pop('MarginHead', None)


def test_example(load):
    model = load(CONFIG).train()
    assert list(model.heads)[-1] == 'margin' and {'mlm', 'itc', 'itm'} < set(model.heads)
    inputs, records = dict(image=images(4)), samples(4)
    losses = model(inputs, records, mode='loss')
    image = model.image_features(model.encode_image(inputs['image']))
    text = model.text_features(model.encode_text([record.text for record in records]))
    gaps = [image[i] @ text[i] - image[i] @ text[i - 1] for i in range(4)]
    expected = sum(max(0.3 - gap.item(), 0) for gap in gaps) / 4
    assert losses['loss_margin'].item() == pytest.approx(0.5 * expected, rel=1e-4)
    torch.testing.assert_close(losses['margin_gap'], sum(gaps) / 4)
    total, logged = model.parse_losses(losses)
    assert {'loss', 'loss_mlm', 'loss_itc', 'loss_itm', 'loss_margin', 'margin_gap'} <= set(logged)
    total.backward()
    with torch.no_grad():
        found = model.eval()(inputs, records, mode='predict')
    assert all('pred_match' in record and 'image_feature' in record for record in found)


def test_included_objective(load):
    model = load(INCLUDED).train()
    assert {'mlm', 'itc', 'itm', 'mvm'} == set(model.heads)
    losses = model(dict(image=images(4)), samples(4), mode='loss')
    assert {'loss_mvm', 'mvm_perplexity', 'mvm_live'} <= set(losses)


def test_page_names_what_there_is():
    rows = PAGE.partition('| `batch.` |')[2].partition('\n\n')[0].splitlines()
    cells = [row.split('|')[1] for row in rows[2:]]
    names = [name for cell in cells for name in re.findall(r'`(\w+)', cell)]
    assert len(names) >= 12 and set(names) <= set(dir(EncodedBatch(None, {}, [])))
