"""Memory and time of reading a training checkpoint of FIBER-B, 4 GB; ``-s`` shows the figures."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from official_files import write_detector

CHECKOUT = Path(__file__).parents[2]
CONFIG = CHECKOUT / 'configs/pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365.py'
LOAD = """
import sys
from fiber_mmdet.apis.loading import load_detector
load_detector(sys.argv[1], sys.argv[2], 'cpu')
"""
RUN = """
import sys
from types import SimpleNamespace
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_to_model
from fiber_mmdet.apis.loading import load_detector
from fiber_mmdet.engine import CheckpointCheckHook
from fiber_mmdet.engine.launch import read_checkpoints_safely
read_checkpoints_safely()
model, *_ = load_detector(sys.argv[1], 'random', 'cpu')
runner = SimpleNamespace(_load_from=sys.argv[2], _resume=False, model=model, _train_loop=None)
checkpoint = _load_checkpoint(sys.argv[2], map_location='cpu')
CheckpointCheckHook().after_load_checkpoint(runner, checkpoint)
_load_checkpoint_to_model(model, checkpoint, strict=True)
"""


def measured(*command):
    """The largest memory of a process, pages of mapped files aside, in bytes, and its seconds."""
    env = dict(os.environ, PYTHONPATH=str(CHECKOUT))
    start, largest = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, *map(str, command)], env=env) as process:
        status = Path(f'/proc/{process.pid}/status')
        while process.poll() is None:
            found = re.search(r'RssAnon:\s+(\d+)', status.read_text())
            largest = max(largest, 1024 * int(found[1]) if found else 0)
            time.sleep(0.005)
    assert process.returncode == 0
    return largest, time.perf_counter() - start


@pytest.mark.measured
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the figures are from /proc')
def test_a_training_file_takes_the_memory_of_its_weights(tmp_path):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(CONFIG).model)
    path, ours = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    write_detector(path, model)
    weights = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    print(f'file {path.stat().st_size / 1e9:.2f} GB, weights {weights / 1e9:.2f} GB')
    convert = [CHECKOUT / 'tools/convert_checkpoint.py', path, ours, '--config', CONFIG]
    found = {}
    for what, command in (
        ('random weights', ['-c', LOAD, CONFIG, 'random']),
        ('official file', ['-c', LOAD, CONFIG, path]),
        ("official file, as mmengine's Runner does", ['-c', RUN, CONFIG, path]),
        ('conversion', convert),
        ('converted file', ['-c', LOAD, CONFIG, ours]),
    ):
        found[what], seconds = measured(*command)
        print(f'{what}: {found[what] / 1e9:.2f} GB, {seconds:.1f} s')
    model_alone = found['random weights']
    assert model_alone > weights
    assert found['official file'] < model_alone + 0.1 * weights
    assert found["official file, as mmengine's Runner does"] < model_alone + 0.1 * weights
    assert found['conversion'] < model_alone - 0.8 * weights
