"""Which classes a checkpoint of mmengine may hold."""

import subprocess
import sys

import pytest
import torch

from fiber_mmdet.checkpoints.trusted_globals import allow_mmengine_checkpoints


@pytest.mark.parametrize(
    'version, called', [('0.10.7', True), ('0.10.8', False), ('0.10.12', False)]
)
def test_old_mmengine_gets_its_checkpoints(monkeypatch, version, called):
    calls = []
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', calls.append)
    allow_mmengine_checkpoints(version)
    assert bool(calls) is called


def test_mmengine_checkpoint_loads(tmp_path):
    """In a process of its own: the list of allowed classes is torch's global state, and mmengine fills it too."""
    pytest.importorskip('mmengine')
    code = f"""
import numpy as np, torch
from mmengine.logging import MessageHub
from fiber_mmdet.checkpoints.trusted_globals import allow_mmengine_checkpoints
hub = MessageHub.get_instance('test')
hub.update_scalar('loss', 1.5)
torch.save(dict(hub=hub.state_dict(), value=np.float32(2)), r'{tmp_path}/x.pth')
torch.serialization.clear_safe_globals()
allow_mmengine_checkpoints('0.10.7')
loaded = torch.load(r'{tmp_path}/x.pth', weights_only=True)
assert loaded['hub']['log_scalars']['loss'].current() == 1.5
"""
    subprocess.run([sys.executable, '-c', code], check=True)
