"""The console command: its table, its messages, and tools run by their names."""

import subprocess
import sys
from pathlib import Path

import pytest

import fiber_command
from fiber_command import COMMANDS, GROUPS, command
from fiber_mmdet import __version__

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = {
    path.stem
    for path in (CHECKOUT / 'tools').glob('*.py')
    if path.stem not in ('command_line', 'tool_parser')
}


def test_every_tool_has_its_command():
    named = {tool for one in COMMANDS for tool, *_ in one.runs}
    assert named == TOOLS
    assert {one.group for one in COMMANDS} == set(GROUPS)


def test_names_are_distinct_and_tools_have_their_own():
    names = [name for one in COMMANDS for name in one.names]
    assert len(names) == len(set(names))
    assert command.find('check_data.py') is command.find('check-data') is command.find('check')


def test_commands_are_listed_by_group(capsys):
    assert fiber_command.main([]) == fiber_command.main(['--help']) == 0
    said = capsys.readouterr().out
    assert all(f'\n  {one.name} ' in said and one.what in said for one in COMMANDS)
    assert all(f'\n{title}:' in said for title in GROUPS.values())
    assert max(map(len, said.splitlines())) <= 100


def test_version(capsys):
    assert fiber_command.main(['--version']) == 0
    assert capsys.readouterr().out == f'fiber_mmdet {__version__}\n'


@pytest.mark.parametrize(
    'wrong, near', [('chek', 'check'), ('brows_dataset', 'browse-dataset'), ('Train', 'train')]
)
def test_an_unknown_command_suggests_what_is_near(wrong, near, capsys):
    assert fiber_command.main([wrong]) == 2
    said = capsys.readouterr().err
    assert repr(wrong) in said and f'did you mean {near}' in said and len(said.splitlines()) == 1


def test_demo_takes_no_arguments(capsys):
    assert fiber_command.main(['demo', 'photo.jpg']) == 2
    assert 'takes no arguments' in capsys.readouterr().err


TOOL = """
import multiprocessing, sys
from beside import WORD

def double(number):
    return WORD, 2 * number

if __name__ == '__main__':
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        print(*sys.argv, pool.map(double, [1, 2]))
    sys.exit({end})
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(end, *arguments)``: a tool that starts a process and ends, run as ``fiber find``."""
    (tmp_path / 'command_line.py').touch()
    (tmp_path / 'beside.py').write_text('WORD = "beside"\n')

    def run(end, *arguments):
        (tmp_path / 'demo.py').write_text(TOOL.format(end=end))
        code = (
            'import pathlib, sys; from fiber_command import command; '
            f'command.tools = lambda: pathlib.Path({str(tmp_path)!r}); '
            f'sys.exit(command.main(["find", *{list(arguments)!r}]))'
        )
        return subprocess.run(
            [sys.executable, '-c', code], cwd=CHECKOUT, capture_output=True, text=True
        )

    return run


def test_a_tool_is_the_program(run):
    """Its name, its neighbours, and processes that it spawns, which import it again."""
    done = run('None', 'a b', '--c')
    assert done.stdout == "fiber find a b --c [('beside', 2), ('beside', 4)]\n", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    'end, code, said', [('0', 0, ''), ('3', 3, ''), ('True', 1, ''), ('"error: x"', 1, 'error: x')]
)
def test_exit_codes_are_those_of_the_tool(run, end, code, said):
    done = run(end)
    assert done.returncode == code and done.stderr.strip() == said


def test_missing_tools_are_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, 'PACKAGE', tmp_path / 'fiber_mmdet')
    assert fiber_command.main(['find']) == 1
    assert 'install the package again' in capsys.readouterr().err


def test_the_entry_point_is_declared():
    text = (CHECKOUT / 'pyproject.toml').read_text(encoding='utf-8')
    assert '[project.scripts]\nfiber = "fiber_command:main"\n' in text
