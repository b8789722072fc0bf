#!/usr/bin/env python3
"""Configs by name, in a checkout as in an installed package:

    python tools/configs.py list                              # all names
    python tools/configs.py list coco swin-b                  # those with these words
    python tools/configs.py where coco/fiber_swin-b_16xb2-24e_coco    # prints the file
    python tools/configs.py child coco/fiber_swin-b_16xb2-24e_coco my_config.py

A name serves wherever a config is asked for: `tools/test.py NAME WEIGHTS`. `child` writes a config
of your own that is based on one of these. MMEngine's short form for that, `_base_ = 'PACKAGE::…'`,
only knows the packages of OpenMMLab.
"""

import argparse
import os
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_command

CHILD = """\
# Based on a config of fiber_mmdet {version}, where it is installed.
_base_ = [{base!r}]

# What is different comes here. Dictionaries are merged key by key, lists are replaced:
# load_from = 'fiber://desco-fiber-b'
# train_dataloader = dict(batch_size=2)
"""


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    part = add_command(commands, 'list', 'List the configs of this project.', __doc__)
    part.add_argument('words', nargs='*', metavar='WORD', help='only names with all of these words')
    part = add_command(commands, 'where', 'Print the file of a config.', __doc__)
    part.add_argument('name', metavar='NAME', help='as `list` prints it, or of a known model')
    part = add_command(commands, 'child', 'Write a config that is based on another.', __doc__)
    part.add_argument('name', metavar='NAME', help='as `list` prints it, or of a known model')
    part.add_argument('out', type=path_argument, help='file to write, which must not exist')
    return parser.parse_args()


def child(base: Path, out: Path) -> str:
    """A config that is based on another.

    Args:
        base: the other.
        out: where it will be. Both in one folder of configs find each other by a relative path, so
            that the folder can be moved.

    Raises:
        ValueError: the file would not be read as a config.
        FileExistsError: there is such a file.
    """
    from fiber_mmdet.version import __version__
    from fiber_mmdet.weights.configs import shipped_folder

    if out.suffix != '.py':
        raise ValueError(f'{out} must end with .py: a config is a file of Python')
    if out.exists():
        raise FileExistsError(f'{out} is there already: choose another name')
    base, folder, shipped = base.resolve(), out.resolve().parent, shipped_folder().resolve()
    beside = folder.is_relative_to(shipped) and base.is_relative_to(shipped)
    path = Path(os.path.relpath(base, folder)) if beside else base
    return CHILD.format(version=__version__, base=path.as_posix())


def main() -> int:
    """The exit code."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.outputs import output_path, write_text
            from fiber_mmdet.weights.configs import config_file, shipped_configs
        if args.command == 'list':
            names = [x for x in shipped_configs() if all(word in x for word in args.words)]
            print('\n'.join(names) or f'no config has {" and ".join(args.words)} in its name')
            return int(not names)
        file = config_file(args.name)
        if args.command == 'where':
            print(file)
        else:
            out = args.out.expanduser()
            text = child(file, out)
            write_text(output_path(out), text)
            print(f'wrote {out}, based on {file}')
    except (OSError, ValueError) as error:
        return fail(error)
    return 0


if __name__ == '__main__':
    run_tool(main)
