"""What --help of every tool says: what it does, examples, and the default of every option."""

import argparse
import re
import runpy
import sys
from pathlib import Path

import pytest

from tool_parser import ToolParser, spoken

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
FILES = sorted(
    path.name
    for path in TOOLS.glob('*.py')
    if path.name not in ('command_line.py', 'tool_parser.py')
)


class Parsed(Exception):
    """The parser, at the moment when it would read the command line."""


@pytest.fixture
def parser_of(monkeypatch):
    """``parser_of(tool)``: the parser that a tool makes."""

    def stop(self, *_, **__):
        raise Parsed(self)

    def parser_of(tool):
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        monkeypatch.setattr(sys, 'argv', [tool])
        monkeypatch.setattr(sys, 'path', list(sys.path))
        with pytest.raises(Parsed) as caught:
            if tool in ('train.py', 'test.py'):
                runpy.run_path(str(TOOLS / tool), run_name='__main__')
            else:
                runpy.run_path(str(TOOLS / tool))['main']()
        return caught.value.args[0]

    return parser_of


def parts(parser):
    """A parser and those of its sub-commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in dict.fromkeys(action.choices.values()):
                yield from parts(part)


@pytest.mark.parametrize('tool', FILES)
def test_help_has_examples_and_defaults(parser_of, tool):
    for parser in parts(parser_of(tool)):
        assert isinstance(parser, ToolParser)
        lines = parser.format_help().splitlines()
        called = [line for line in lines if re.match(rf' {{4}}python tools/{tool}\b', line)]
        assert called, f'{parser.prog} has no example'
        # an escaped line break that was lost joins two lines of an example
        joined = [line for line in called if re.search(r'\S {4,}(?!# )\S', line.split('  #')[0])]
        assert not joined
        for action in parser._actions:
            if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
                continue
            said = ''.join(parser._get_formatter()._format_action(action).split())
            if tool in ('train.py', 'test.py') and not action.help:
                continue  # mmdet's
            assert action.help, f'{parser.prog}: {action.dest}'
            value = action.default
            if action.option_strings and value not in (None, True, False, [], ''):
                words = map(str, value) if isinstance(value, (list, tuple)) else [str(value)]
                assert all(word in said for word in words) and 'default' in said, said


@pytest.mark.parametrize('tool', FILES)
def test_sections_come_in_one_order(parser_of, tool):
    text = parser_of(tool).format_help()
    places = [text.find(part) for part in ('usage:', f'    python tools/{tool}', '\noptions:')]
    assert -1 not in places and places == sorted(places)


def test_calls_are_shown_as_files_unless_the_command_runs(monkeypatch):
    import fiber_command

    text = 'python tools/weights.py list, torchrun --nproc_per_node 2 tools/train.py CONFIG'
    assert spoken(text) == text
    monkeypatch.setattr(sys, 'argv', ['fiber weights'])
    assert spoken(text) == (
        'fiber weights list, torchrun --nproc_per_node 2 -m fiber_command train CONFIG'
    )
    assert fiber_command.spoken('tools/demo_image_text.py answer photo.jpg') == (
        'fiber ask photo.jpg'
    )
