"""What the tools share: answering ``--help`` before the slow imports, and errors in one line.

Importing torch, mmdet and fiber_mmdet takes seconds, so the tools parse their command line first
and import later.
"""

import argparse
import ast
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Silence warnings for good, and let what mmdet and pycocotools print go to stderr."""
    warnings.filterwarnings('ignore')
    with redirect_stdout(sys.stderr):
        yield


def fail(error: Exception | str) -> int:
    """Print an error in one line; returns the exit code 1."""
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    return 1


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


def check_mmdet_arguments(tool: str) -> None:
    """Let the parser of mmdet's own tool read the command line, without the tool's imports.

    ``--help`` and wrong arguments end the program here. Only the function ``parse_args`` of
    mmdet's file, and the imports that it uses, are run. Where mmdet or that function is not
    found, nothing happens: the tool itself will tell.

    Args:
        tool: 'train.py' or 'test.py'.

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
    namespace['parse_args']()
