#!/usr/bin/env python3
"""Weights by name:

    python tools/weights.py list                       # all names; with a NAME all about it
    python tools/weights.py get desco-fiber-b          # download, verify and convert, once
    python tools/weights.py get desco-fiber-b --file desco_fiber_base.pth    # a file that you have
    python tools/weights.py where desco-fiber-b        # prints the file, if it is there
    python tools/weights.py check desco-fiber-b --coco-folder data/coco --photo train.png

A name serves wherever weights are named: `tools/demo.py --model NAME`, `FIBERInferencer('NAME')`,
`load_from='fiber://NAME'`. Files of the hub are kept in its own cache (HF_HOME), converted models
in ~/.cache/fiber_mmdet (FIBER_CACHE).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_command, spoken


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return add_command(commands, name, text, __doc__)

    part = command('list', 'List the weights that are known by name.')
    part.add_argument('names', nargs='*', metavar='NAME', help='tell all about these')
    for name, text in (
        ('get', 'Download weights, verify and convert them; what is there is kept.'),
        ('where', 'Print the file of weights that are there.'),
    ):
        part = command(name, text)
        part.add_argument('name', metavar='NAME', help='as `list` prints it')
        precision = part.add_mutually_exclusive_group()
        precision.add_argument(
            '--float16',
            dest='half',
            action='store_true',
            default=None,
            help='converted weights of half the size, with slightly different results',
        )
        precision.add_argument(
            '--float32',
            dest='half',
            action='store_false',
            default=None,
            help='those of full size, even if only the others are there',
        )
        if name == 'get':
            part.add_argument(
                '--file', type=path_argument, help='the published file, instead of a download'
            )
            part.add_argument(
                '--unverified',
                action='store_true',
                help='take FILE even if its size or checksum are not those that are known',
            )
    part = command('check', 'Check weights: their keys, and photos whose answers are known.')
    part.add_argument('weights', metavar='NAME|FILE', help='known weights, or any checkpoint')
    part.add_argument('--config', help='config of FILE; guessed for FIBER-B')
    part.add_argument(
        '--coco-folder',
        type=path_argument,
        help='folder with annotations/instances_val2017.json and val2017/, or another NAME',
    )
    part.add_argument('--images', type=int, metavar='N', help='look at N photos of it only')
    part.add_argument(
        '--photo', type=path_argument, help="the train: tools/pics/1.png of DesCo's repository"
    )
    part.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')
    part.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
    args = parser.parse_args()
    if getattr(args, 'unverified', False) and args.file is None:
        parser.error('--unverified is about --file: what is downloaded is always verified')
    return args


def list_known(args: argparse.Namespace) -> int:
    """Print names in short, or all about some."""
    from fiber_mmdet.weights import find_known, known_weights

    if args.names:
        for name in args.names:
            print('\n'.join(details(find_known(name))))
        return 0
    table = known_weights().values()
    for task in dict.fromkeys(known.task for known in table):
        print(f'{task}:')
        for known in table:
            if known.task == task:
                print(f'  {known.name:24} {size_of(known):>9}  {state_of(known)}; {known.what}')
    print(spoken('\nAll about one: python tools/weights.py list NAME'))
    return 0


def details(known) -> Iterator[str]:
    """All about known weights, a line each."""
    from fiber_mmdet.weights.catalogue import LAYOUTS

    yield f'{known.name}: {known.what}'
    for what, value in (
        ('task', known.task),
        ('state', state_of(known)),
        ('evidence', known.evidence),
        ('licence', known.licence or 'not seen: ask its authors'),
        ('layout', LAYOUTS[known.layout]),
        ('config', known.config and f'configs/{known.config}'),
        ('size', size_of(known)),
        ('sha256', known.sha256 or 'not seen'),
        *(('address', address) for address in known.addresses),
        *(
            ('published', f'{one.benchmark}: {one.metric} {one.value} ({one.source})')
            for one in known.published
        ),
    ):
        if value:
            yield f'  {what:10} {value}'


def size_of(known) -> str:
    """The size of the published file."""
    return f'{known.size / 1e9:.2f} GB' if known.size else ''


def state_of(known) -> str:
    """Where the weights are, or whether they can be fetched."""
    from fiber_mmdet.weights import stored_weights
    from fiber_mmdet.weights.catalogue import STATES

    here = known.state != 'packaged' and stored_weights(known.name) is not None
    return 'in the cache' if here else STATES[known.state]


def get(args: argparse.Namespace) -> int:
    """Get weights, and the tokenizer of their model, and say how to use them."""
    from fiber_mmdet.weights import find_known, get_weights

    known = find_known(args.name)
    path = get_weights(known.name, args.half, args.file, args.unverified)
    print(path)
    for line in usage(known, path):
        print(line, file=sys.stderr)
    if known.is_model:
        get_tokenizer(known)
    return 0


def usage(known, path: Path) -> Iterator[str]:
    """What can be done with weights that are there."""
    from fiber_mmdet.weights.store import report_of

    if known.layout == 'donor':
        call = spoken('python tools/borrow_weights.py')
        yield f'warm start: {call} {path} ours.pth --config CONFIG'
    elif known.layout == 'tower':
        part = 'text' if path.is_dir() else 'image'
        yield f'training: --cfg-options model.backbone.pretrained.{part}={path}'
    elif not known.is_model:
        yield f'training: --cfg-options model.backbone.pretrained.coarse={path}'
    elif known.layout != 'ours':
        yield f'what became of every key: {report_of(path)}'
        yield f'by name: --model {known.name}, load_from=fiber://{known.name}'


def get_tokenizer(known) -> None:
    """Fetch the tokenizer of a model, so that it can be used without network."""
    from mmengine.config import Config

    from fiber_mmdet.text import PromptError, load_tokenizer

    wanted = Config.fromfile(known.config_file()).model.tokenizer
    try:
        load_tokenizer(wanted.name_or_path)
    except PromptError as error:
        print(f'the tokenizer is not here yet: {error}', file=sys.stderr)


def where(args: argparse.Namespace) -> int:
    """Print the file of weights that are there."""
    from fiber_mmdet.weights import stored_weights

    path = stored_weights(args.name, args.half)
    if path is None:
        return fail(f'{args.name} is not here: {spoken("python tools/weights.py get")} {args.name}')
    print(path)
    return 0


def check(args: argparse.Namespace) -> int:
    """Check weights; the exit code is 1 if anything fails."""
    from mmengine.config import Config

    from fiber_mmdet.apis import FIBERInferencer
    from fiber_mmdet.apis.acceptance import (
        check_file,
        check_keys,
        check_photos,
        check_train,
        config_for,
    )
    from fiber_mmdet.checkpoints import ConversionError, read_checkpoint
    from fiber_mmdet.weights import local_weights
    from fiber_mmdet.weights.addresses import named
    from fiber_mmdet.weights.configs import config_file

    known = named(args.weights)
    path = local_weights(f'fiber://{known.name}' if known else args.weights)
    checkpoint = read_checkpoint(path)
    try:
        config = args.config or (known.config_file() if known else config_for(checkpoint))
    except ConversionError as error:
        raise ConversionError(f'{path}: {error}') from None
    verdicts = []

    def say(verdict) -> None:
        verdicts.append(verdict)
        print(verdict, flush=True)

    print(f'{path}\n{config}')
    say(check_file(path, known and known.name))
    say(check_keys(checkpoint, Config.fromfile(config_file(config))))
    del checkpoint
    if (args.coco_folder or args.photo) and verdicts[-1].passed:
        find = FIBERInferencer(config, path, args.device, args.tokenizer)
        if args.coco_folder:
            say(check_photos(find, args.coco_folder, args.images))
        if args.photo:
            say(check_train(find, args.photo))
    failed = [verdict.item for verdict in verdicts if verdict.passed is False]
    passed = sum(verdict.passed is True for verdict in verdicts)
    print(f'{passed} passed, {len(failed)} failed' + (f': {", ".join(failed)}' if failed else ''))
    return int(bool(failed))


COMMANDS = dict(list=list_known, get=get, where=where, check=check)


def main() -> int:
    """The exit code."""
    args = parse_args()
    try:
        with quiet_imports():
            import fiber_mmdet  # noqa: F401
        return COMMANDS[args.command](args)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
