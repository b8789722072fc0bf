"""Every tool answers --help without the imports that take seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
SLOW = {'torch', 'mmcv', 'mmdet', 'transformers', 'matplotlib', 'fiber_mmdet'}


def run(tool, *arguments):
    """The finished process of a tool or a package, and the modules it imported."""
    program = [str(TOOLS / tool)] if tool.endswith('.py') else ['-m', tool]
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', *program, *arguments],
        env=dict(os.environ, PYTHONPATH=str(TOOLS.parent)),
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    return done, {line.rpartition('|')[2].strip() for line in lines}


@pytest.mark.parametrize(
    'tool',
    sorted(
        path.name
        for path in TOOLS.glob('*.py')
        if path.name not in ('command_line.py', 'tool_parser.py')
    ),
)
def test_help_is_quick(tool):
    done, imported = run(tool, '--help')
    assert done.returncode == 0 and done.stdout.startswith('usage: ')
    assert 'argparse' in imported and not SLOW & imported


@pytest.mark.parametrize('arguments', [[], ['find', '--help'], ['train', '--help'], ['ask', '-h']])
def test_help_of_the_command_is_quick(arguments):
    done, imported = run('fiber_command', *arguments)
    usage = ' '.join(['usage: fiber', *arguments[:1]])
    assert done.returncode == 0 and done.stdout.startswith(usage)
    assert not SLOW & imported


def test_help_of_a_job_is_quick():
    done, imported = run('benchmark.py', 'train-step', '--help')
    assert done.returncode == 0 and '--batch' in done.stdout
    assert not SLOW & imported


@pytest.mark.parametrize('tool, wrong', [('train.py', ['--wrong']), ('test.py', ['config.py'])])
def test_wrong_arguments_of_mmdets_tools_are_found_before(tool, wrong):
    done, imported = run(tool, *wrong)
    assert done.returncode == 2 and 'error: the following arguments are required' in done.stderr
    assert not SLOW & imported
