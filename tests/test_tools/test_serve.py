"""The command line of tools/serve.py: what is served, who is warned, what is refused."""

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('fastapi', reason='the extra "web" is not installed')
pytest.importorskip('gradio', reason='the extra "web" is not installed')

TOOL = Path(__file__).resolve().parents[2] / 'tools/serve.py'


@pytest.fixture
def serve(monkeypatch):
    """Runs the tool in this process, up to the point where it would answer requests."""
    from fiber_mmdet.serving import app

    served = []
    monkeypatch.setattr(app, 'run', lambda web, at: served.append((web, at.getsockname())))

    def run(*words):
        monkeypatch.setattr(sys, 'argv', ['serve.py', '--port', '0', '--device', 'cpu', *words])
        code = runpy.run_path(str(TOOL))['main']()
        return code, served.pop() if served else None

    return run


def test_the_packaged_models_on_this_machine_only(serve, capsys):
    code, (web, at) = serve('--no-page')
    assert code == 0 and at[0] == '127.0.0.1' and '127.0.0.1' in web.names
    said = capsys.readouterr()
    assert f'http://127.0.0.1:{at[1]}' in said.out and 'warning' not in said.err


def test_other_hosts_are_warned_of(serve, capsys, monkeypatch):
    _, (web, _) = serve('--no-page', '--host', '0.0.0.0')
    assert web.names is None and web.auth is None
    assert 'everybody who reaches this machine' in capsys.readouterr().err
    monkeypatch.setenv('FIBER_AUTH', 'ann:secret')
    _, (web, _) = serve('--no-page', '--host', '0.0.0.0')
    assert web.auth == ('ann', 'secret')
    said = capsys.readouterr().err
    assert 'https' in said and 'secret' not in said


def test_what_cannot_start_says_why_in_a_line(serve, capsys, tmp_path, monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve('--port', port) == (1, None)
        assert f'127.0.0.1:{port}' in capsys.readouterr().err
    for words, said in (
        (['--max-mb', '0'], '--max-mb'),
        (['--model', 'nothing-like-it'], 'nothing-like-it'),
        (['--config', str(tmp_path / 'none.py')], 'none.py'),
        (['--no-page', '--local-files', str(tmp_path / 'none')], '--local-files'),
        (['--no-page', '--image-host', 'localhost:8080'], '--image-host'),
    ):
        assert serve(*words) == (1, None)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith('error:') and said in error
    monkeypatch.setenv('FIBER_AUTH', 'ann')
    assert serve('--no-page') == (1, None) and 'FIBER_AUTH' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        serve('--weights', 'a.pth')
    assert '--config' in capsys.readouterr().err


def test_without_the_extra_one_line_names_it(serve, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert serve() == (1, None)
    assert 'fiber_mmdet[web]' in capsys.readouterr().err


@pytest.mark.processes
@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX')
def test_a_server_of_its_own_answers_and_leaves_nothing(tmp_path):
    words = [sys.executable, str(TOOL), '--port', '0', '--device', 'cpu']
    env = dict(os.environ, TMPDIR=str(tmp_path))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            address = process.stdout.readline().split('http://')[1].split(',')[0]
            from urllib.request import urlopen

            deadline = time.monotonic() + 120
            while True:
                try:
                    with urlopen(f'http://{address}/api/health', timeout=60) as answer:
                        assert b'fiber-mini-vl' in answer.read()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
            with urlopen(f'http://{address}/', timeout=60) as answer:
                assert b'gradio_config' in answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
    assert not list(tmp_path.glob('fiber-serve-*'))
