"""The ``--help`` of all tools: what a tool does, examples, arguments, options with defaults.

Nothing here imports torch or mmdet, so that it is quick.
"""

import argparse
import ast
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from command_line import path_argument, spans_argument

PROGRAM = 'fiber'
_EXAMPLE = re.compile(r' {2,4}(?:python|torchrun) .*')


class ToolHelp(argparse.RawDescriptionHelpFormatter):
    """Help with descriptions as they are written, and with the default of each option."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said, value = spoken(action.help or ''), action.default
        if not action.option_strings or value in (None, argparse.SUPPRESS, [], ''):
            return said
        if isinstance(value, bool) or 'default' in said:
            return said
        words = ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        return f'{said} (default: {words.replace("%", "%%")})'.lstrip()


class ToolParser(argparse.ArgumentParser):
    """The parser of a tool.

    Args:
        description: what the tool does, with examples: usually its ``__doc__``. Calls of tools in
            it are shown as the user called this one, ``python tools/demo.py`` or ``fiber find``.
        **kwargs: those of argparse's.
    """

    def __init__(self, description: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault('formatter_class', ToolHelp)
        for key, text in (('description', description), ('epilog', kwargs.get('epilog'))):
            kwargs[key] = text and spoken(text.strip())
        super().__init__(**kwargs)


def add_command(commands: Any, name: str, what: str, text: str) -> argparse.ArgumentParser:
    """A sub-command, whose help has its own examples.

    Args:
        commands: what ``add_subparsers`` returned.
        name: of the sub-command.
        what: what it does, a sentence.
        text: help of the tool, with examples of its sub-commands.
    """
    tool = re.search(r'tools/\w+\.py', text)
    call = f'python {tool[0]} {name}' if tool else name
    shown = examples(text, call)
    return commands.add_parser(
        name,
        help=what,
        description='\n'.join([f'{what.removesuffix(".")}.', *([''] if shown else []), *shown]),
        # `fiber ask` is a sub-command of a tool
        prog=spoken(call) if spoken(call) != call else None,
    )


def examples(text: str, call: str = '') -> list[str]:
    """The lines of a text that are examples, with those that continue them.

    Args:
        text: help of a tool.
        call: how the examples begin.
    """
    found, on = [], False
    for line in text.splitlines():
        begins = _EXAMPLE.fullmatch(line) and (
            line.lstrip() == call or line.lstrip().startswith(f'{call} ' if call else '')
        )
        if on or begins:
            found.append(line)
        on = bool(on or begins) and line.endswith('\\')
    return found


def spoken(text: str) -> str:
    """A text in which tools are called as this one was: by their files, or by the command."""
    console = sys.modules.get('fiber_command')
    by_command = sys.argv[0] == PROGRAM or sys.argv[0].startswith(f'{PROGRAM} ')
    return console.spoken(text) if console and by_command else text


def add_model_options(
    parser: argparse._ActionsContainer,
    config_help: str = 'config of another model than the packaged one',
) -> None:
    """Add the options that say which model, and where it runs.

    ``command_line.config_named`` reads ``--model`` and ``--config``.

    Args:
        parser: a parser or a group of its options.
        config_help: what ``--config`` takes.
    """
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--model',
        metavar='NAME',
        help='a known model, downloaded and converted once (tools/weights.py list)',
    )
    which.add_argument('--config', help=config_help)
    parser.add_argument(
        '--weights',
        help='its checkpoint, an address (hf://…, fiber://NAME), or "random"; if not given, the '
        'load_from of the config, or those of --model',
    )
    parser.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
    parser.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')


def add_prompt_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say how a prompt is read; see ``command_line.prompt_options``."""
    parser.add_argument(
        '--tokens-positive',
        type=spans_argument,
        metavar='SPANS',
        help='-1: the whole prompt describes one thing; or the characters of each phrase, such as '
        '"[[[0, 5]], [[10, 17]]]"',
    )
    parser.add_argument(
        '--phrases',
        metavar='WORDS',
        help='look for these words of the prompt only, separated by ";": "train; sidewalk"',
    )
    parser.add_argument(
        '--descriptions',
        type=path_argument,
        metavar='FILE',
        help='what the names of the prompt look like, {"zebra": ["animal", ["stripes"]]}; without '
        'a prompt, everything in the file is looked for (docs/descriptions.md)',
    )
    parser.add_argument(
        '--chunked-size',
        type=int,
        metavar='N',
        help='read N names at a time, for vocabularies too long for a prompt',
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tools that read the data of a config."""
    from mmengine.config import DictAction

    parser.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )


def check_mmdet_arguments(tool: str, text: str) -> None:
    """Let the parser of mmdet's own tool read the command line, without the tool's imports.

    ``--help`` and wrong arguments end the program here. Only the function ``parse_args`` of
    mmdet's file, and the imports that it uses, are run. Where mmdet or that function is not
    found, nothing happens: the tool itself will tell.

    Differs from mmdet's help, which has no examples and no defaults.

    Args:
        tool: 'train.py' or 'test.py'.
        text: what ``--help`` says before the options.

    Raises:
        SystemExit: as argparse does.
    """
    mmdet = find_spec('mmdet')
    if mmdet is None or mmdet.origin is None:
        return
    file = Path(mmdet.origin).parent / '.mim' / 'tools' / tool
    if not file.is_file():
        return
    body = ast.parse(file.read_text(encoding='utf-8')).body
    parsers = [x for x in body if isinstance(x, ast.FunctionDef) and x.name == 'parse_args']
    if not parsers:
        return
    used = {node.id for node in ast.walk(parsers[0]) if isinstance(node, ast.Name)}
    imports = []
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = [x for x in statement.names if (x.asname or x.name.partition('.')[0]) in used]
            if names:
                statement.names = names
                imports.append(statement)
    namespace: dict = {}
    exec(compile(ast.Module([*imports, *parsers], []), str(file), 'exec'), namespace)
    parser = lambda *args, **kwargs: ToolParser(text)  # noqa: E731
    namespace['argparse'] = SimpleNamespace(**{**vars(argparse), 'ArgumentParser': parser})
    namespace['parse_args']()
