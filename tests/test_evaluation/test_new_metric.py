"""The page on new metrics: its code runs as it stands, in a test and from a file."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import DefaultScope

import fiber_mmdet  # noqa: F401
from made_samples import score

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = CHECKOUT / 'tools/eval_metric.py'
PAGE = (CHECKOUT / 'docs/extending/metric.md').read_text(encoding='utf-8')
METRIC, CONFIG = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


@pytest.fixture
def config(tmp_path, monkeypatch, tiny_scenes):
    """Path of the page's config, with the generated scenes as data."""
    (tmp_path / 'counting_error.py').write_text(METRIC)
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copytree(CHECKOUT / 'configs', tmp_path / 'configs')
    file = tmp_path / 'configs/scenes/my_vqa.py'
    file.write_text(
        f'{CONFIG}\ntest_dataloader = dict(dataset=dict(data_root={str(tiny_scenes)!r}))'
    )
    yield file
    sys.modules.pop('counting_error', None)
    METRICS.module_dict.pop('CountingError', None)


def test_example(config, tmp_path, monkeypatch):
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        metrics = [METRICS.build(metric) for metric in cfg.test_evaluator]
    names = dataset.metainfo['answers']
    samples, distances = [], []
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples'].to_dict()
        true = names[sample['answer_labels'][0]]
        found = str(int(true) + i % 2) if true in '012345' else true
        distances += [i % 2] * found.isdigit()
        samples.append(dict(sample, pred_answer=names.index(found)))
    assert 0 < sum(distances) < len(distances)
    expected = {
        'counting/error': pytest.approx(sum(distances) / len(distances)),
        'counting/questions': len(distances),
    }
    metrics[1].dataset_meta = dataset.metainfo
    assert score(metrics[1], samples) == expected

    for sample in samples:  # the dataset's own answers count
        sample['answer_labels'] = [0]
    dump(samples, tmp_path / 'predictions.pkl')
    command = [TOOL, config, tmp_path / 'predictions.pkl', '--out', tmp_path / 'metrics.json']
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    runpy.run_path(str(TOOL))['main']()
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found.items() >= expected.items() and 0 < found['vqa/score'] < 1

    dump(samples[::-1], tmp_path / 'predictions.pkl')
    with pytest.raises(SystemExit, match='(image|question)_id'):
        runpy.run_path(str(TOOL))['main']()
