"""A tool whose output nobody reads any more ends without a word; other broken pipes are errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
HEAD = f'import sys; sys.path.insert(0, {str(TOOLS)!r}); from command_line import *\n'
MUCH = """
def main():
    try:
        print('word\\n' * 100_000)
    except OSError as error:
        return fail(error)
run_tool(main)
"""
LITTLE = 'run_tool(lambda: print("word"))'
FOLDER = """
def main():
    run = FolderRun()
    for name in run.each(range(9)):
        with run.item(name):
            print('word\\n' * 100_000)
    return run.finish()
run_tool(main)
"""
OTHER = """
def main():
    raise BrokenPipeError('of a worker')
run_tool(main)
"""


def unread(*command):
    """Exit code and messages of a program whose output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize('code', [MUCH, LITTLE, FOLDER])
def test_ends_without_a_word(code):
    assert unread(sys.executable, '-c', HEAD + code) == (141, '')


@pytest.mark.parametrize('tool', ['demo.py', 'train.py', 'benchmark.py'])
def test_so_does_help(tool):
    code, said = unread(sys.executable, str(TOOLS / tool), '--help')
    assert code in (0, 141) and not said  # argparse overlooks it


def test_other_broken_pipes_are_told():
    done = subprocess.run([sys.executable, '-c', HEAD + OTHER], capture_output=True, text=True)
    assert done.returncode == 1 and 'BrokenPipeError: of a worker' in done.stderr
