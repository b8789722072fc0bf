"""The copy of the runners needs neither torch nor mmdet; differences of detections are counted."""

import os
import subprocess
import sys

import numpy as np

from fiber_mmdet.apis.results import GroundingResult
from fiber_mmdet.export.checking import drift
from fiber_mmdet.export.standalone import copy_runners

LINES = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'transformers', 'fiber_mmdet'):
    sys.modules[name] = None  # importing it fails
from fiber_runner import GroundingRunner, ImageTextRunner
from fiber_runner.apis.inputs import read_query
print(GroundingRunner.__module__, read_query('a red star . a ring').prompt.phrases)
try:
    ImageTextRunner('nowhere')
except ValueError as error:
    print(error)
"""


def test_runners_alone(tmp_path):
    copy_runners(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', LINES],
        capture_output=True,
        text=True,
        env=dict(PYTHONPATH=str(tmp_path), PATH=os.environ['PATH']),
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "fiber_runner.export.runner ('a red star', 'a ring')"
    assert 'nowhere' in second and 'no such folder' in second


def result(boxes, scores, labels):
    return GroundingResult(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(labels),
        ('a', 'b'),
        (((0, 1),), ((4, 5),)),
        'a . b',
        (100, 100),
    )


def test_drift_of_detections():
    wanted = result([[0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 10]], [0.9, 0.6, 0.3], [0, 1, 0])
    found = result([[0, 0, 10, 11], [0, 0, 10, 10], [90, 90, 99, 99]], [0.8, 0.7, 0.55], [0, 1, 0])
    one = drift([wanted, wanted], [found, wanted], 0.5)
    assert (one.images, one.detections, one.found, one.added) == (2, 4, 3, 2)
    np.testing.assert_allclose(
        [one.mean_score, one.max_score, one.max_box], [0.1 / 3, 0.1, 1], atol=1e-6
    )
