"""The wheel, in an empty folder: the command, its tools and configs, without a checkout."""

import os
import shutil
import subprocess
import sys
from email import message_from_string
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
BUILT_FROM = ('fiber_command', 'fiber_mmdet', 'fiber_scenes', 'configs', 'tools')
FILES = ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE')

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        find_spec('pip') is None or find_spec('setuptools') is None,
        reason='needs pip and setuptools, to build the wheel',
    ),
]


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder with what the wheel installs."""
    source, wheels = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheels')
    for name in BUILT_FROM:
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(CHECKOUT / name, source / name, symlinks=True, ignore=ignored)
    for name in FILES:
        shutil.copy(CHECKOUT / name, source)
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    subprocess.run(
        [*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', wheels, source], check=True
    )
    (wheel,) = wheels.iterdir()
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run(
        [*pip, 'install', '--no-deps', '--no-index', '--target', folder, wheel], check=True
    )
    return folder


@pytest.fixture
def fiber(installed, tmp_path):
    """``fiber(*arguments)``: the finished process, in an empty folder."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, installed / 'bin/fiber', *arguments],
            cwd=tmp_path,
            env=dict(os.environ, PYTHONPATH=str(installed), OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )

    return run


def test_the_command_starts(fiber, installed):
    assert fiber('--version').stdout.startswith('fiber_mmdet ')
    help_of_a_tool = fiber('train', '--help').stdout
    assert '    fiber train CONFIG\n' in help_of_a_tool and 'tools/' not in help_of_a_tool
    where = fiber('configs', 'where', 'scenes/fiber_mini_scenes')
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stderr


def test_the_packaged_models_look_at_the_packaged_scene(fiber, tmp_path):
    done = fiber('find', 'fiber://scene', 'a star . a ring')
    assert done.returncode == 0, done.stderr
    assert 'a ring' in done.stdout and (tmp_path / 'demo.jpg').is_file()


def test_metadata_is_complete(installed):
    (file,) = installed.glob('*.dist-info/METADATA')
    found = message_from_string(file.read_text(encoding='utf-8'))
    assert all(found[key] for key in ('Author', 'Maintainer', 'Summary', 'Keywords', 'Classifier'))
    assert found['License-Expression'] == 'Apache-2.0'
    assert found['Description-Content-Type'] == 'text/markdown'
    assert '](docs/' not in found.get_payload() and '```bash' in found.get_payload()
