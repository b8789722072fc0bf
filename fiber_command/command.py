"""Finding and running the tool of a command."""

import difflib
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

from .table import COMMANDS, GROUPS, Command, hyphens

PACKAGE = Path(__file__).resolve().parents[1] / 'fiber_mmdet'
HELP, VERSION = ('-h', '--help', 'help'), ('-V', '--version', 'version')


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: of the command line, without the program; None for those of this process.

    Returns:
        The exit code: that of the tool; 2 if there is no such command.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ['help'] and len(words) > 1:
        words = [words[1], '--help']
    if not words or words[0] in HELP:
        return say(overview())
    if words[0] in VERSION:
        return say(f'fiber_mmdet {version()}')
    command = find(words[0])
    if command is None:
        print(f'fiber: {unknown(words[0])}', file=sys.stderr)
        return 2
    return run(command, words[1:])


def find(name: str) -> Command | None:
    """The command of a name, written with hyphens or as the file of a tool."""
    asked = hyphens(name.removesuffix('.py'))
    return next((one for one in COMMANDS if asked in one.names), None)


def unknown(name: str) -> str:
    """What to say about a name that no command has."""
    names = [other for one in COMMANDS for other in one.names]
    near = difflib.get_close_matches(hyphens(name.lower()), names, 3)
    hint = f'; did you mean {" or ".join(near)}?' if near else '.'
    return f'there is no command {name!r}{hint} `fiber --help` lists all.'


def overview() -> str:
    """All commands by group, a line each."""
    width = max(len(one.name) for one in COMMANDS)
    lines = [
        'usage: fiber COMMAND …',
        '',
        'FIBER for MMDetection: find words in images, ask about them, train and test.',
        '',
        '    fiber demo                                  # the packaged models; needs no file',
        '    fiber find photo.jpg "a dog . a frisbee" --model desco-fiber-b',
        '    fiber COMMAND --help                        # examples, and all options',
    ]
    for group, title in GROUPS.items():
        lines += ['', f'{title}:']
        lines += [f'  {one.name:{width}}  {one.what}' for one in COMMANDS if one.group == group]
    return '\n'.join(lines)


def version() -> str:
    """The version of the package, which is not imported."""
    return runpy.run_path(str(PACKAGE / 'version.py'))['__version__']


def tools() -> Path:
    """The folder of the tools: in a wheel part of the package, in a checkout beside it.

    Raises:
        FileNotFoundError: they are not installed.
    """
    for folder in (PACKAGE / '.mim' / 'tools', PACKAGE.parent / 'tools'):
        if (folder / 'command_line.py').is_file():
            return folder.resolve()
    raise FileNotFoundError(
        f'the tools are not installed with fiber_mmdet (looked in {PACKAGE / ".mim" / "tools"}): '
        'install the package again'
    )


def run(command: Command, arguments: list[str]) -> int:
    """Run the tools of a command in this process, each as the program ``fiber NAME``.

    Args:
        command: from the table.
        arguments: the user's.

    Returns:
        The exit code of the first tool that fails, or 0.
    """
    if len(command.runs) > 1 and arguments:
        wants_help = arguments[0] in HELP
        text = f'usage: fiber {command.name}\n\n{command.what[0].upper()}{command.what[1:]}.'
        if wants_help:
            return say(f'{text}\n\n    fiber {command.name}')
        print(f'{text}\n\nIt takes no arguments: see fiber --help', file=sys.stderr)
        return 2
    try:
        folder = tools()
    except FileNotFoundError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    # as Python does for a program that is run by its file
    sys.path.insert(0, str(folder))
    for tool, *words in command.runs:
        # a tool with sub-commands names them itself
        sys.argv = ['fiber' if words else f'fiber {command.name}', *words, *arguments]
        code = exit_code(folder / f'{tool}.py')
        if code:
            return code
    return 0


def exit_code(tool: Path) -> int:
    """Run a tool as the program of this process; returns its exit code."""
    # As Python does for a program that is run by its file: processes that are spawned look for that
    # file. runpy would do the same, but for the name of the program, which it changes to the file.
    program = ModuleType('__main__')
    program.__file__ = str(tool)
    before, sys.modules['__main__'] = sys.modules['__main__'], program
    try:
        exec(compile(tool.read_bytes(), str(tool), 'exec'), vars(program))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    finally:
        sys.modules['__main__'] = before
    return 0


def say(text: str) -> int:
    """Print a text; returns the exit code 0, also if nobody reads to the end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
