"""Processes that are killed or that come together, and what the next one finds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from fiber_mmdet.checkpoints import read_checkpoint
from fiber_mmdet.weights import get_weights, stored_weights
from fiber_mmdet.weights.store import cache_folder
from known_models import FILE, REPO

CHECKOUT = Path(__file__).resolve().parents[2]
GET = """
import sys
from pathlib import Path
from fiber_mmdet.weights import catalogue, get_weights
catalogue.TABLE = Path(sys.argv[1])
{}
print(get_weights(sys.argv[2]))
"""
KILL_IN_WRITING = """
import os, signal, safetensors.torch
def half(tensors, path, metadata):
    with open(path, 'wb') as file:
        file.write(b'half of it')
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
safetensors.torch.save_file = half
"""
pytestmark = pytest.mark.processes


@pytest.fixture
def start(hub, tmp_path):
    """``start(name, first)`` begins to get weights in another process, which runs ``first``."""
    running, table = [], tmp_path / 'known.json'

    def start(name, first=''):
        said = tmp_path / f'said{len(running)}'
        with open(said, 'w') as stderr:
            process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', GET.format(first), table, name],
                env=dict(os.environ, PYTHONPATH=str(CHECKOUT)),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        process.said = said.read_text
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    'name, path', [('tiny', f'/{REPO}/resolve/main/{FILE}'), ('tiny-tower', '/towers/tower.pth')]
)
def test_killed_while_downloading(hub, start, name, path, official_file):
    file = hub.files[path]
    file.stall = True
    process = start(name)
    assert file.sent_half.wait(120)
    time.sleep(0.5)  # what was sent arrives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert stored_weights(name) is None
    for part in Path(constants.HF_HUB_CACHE).rglob('*.incomplete'):
        os.utime(part, (0, 0))  # as if a minute had passed, after which it is nobody's
    file.stall = False
    file.released.set()
    found = get_weights(name)
    if name == 'tiny':
        assert len(read_checkpoint(found)['state_dict'])
        assert not list(Path(constants.HF_HUB_CACHE).rglob('*.incomplete'))
    else:
        assert found.read_bytes() == official_file.read_bytes()
        assert hub.requests[-1][2] is not None  # went on where it was
        assert not list(cache_folder().rglob('.*part'))


def test_killed_while_converting(hub, start):
    process = start('tiny', KILL_IN_WRITING)
    assert process.wait(240) == -signal.SIGKILL
    folder = cache_folder() / 'tiny'
    assert list(folder.glob('.*part')) and stored_weights('tiny') is None
    assert len(read_checkpoint(get_weights('tiny'))['state_dict'])
    assert not list(folder.glob('.*part')) and hub.contents_sent() == 1


def test_two_at_once_share_one_download(hub, start):
    file = hub.files[f'/{REPO}/resolve/main/{FILE}']
    file.stall = True
    processes = [start('tiny'), start('tiny')]
    assert file.sent_half.wait(120)
    waits = 'another process is getting these weights'
    wait_for(lambda: any(waits in process.said() for process in processes))
    file.stall = False
    file.released.set()
    answers = [process.communicate(timeout=240)[0] for process in processes]
    assert answers[0].splitlines()[-1] == answers[1].splitlines()[-1]
    assert Path(answers[0].splitlines()[-1]).is_file()
    assert hub.contents_sent() == 1
