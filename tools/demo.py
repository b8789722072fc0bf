#!/usr/bin/env python3
"""Find words in an image:

    python tools/demo.py                                        # the packaged model and scene
    python tools/demo.py fiber://scene "a star . a ring"        # that scene, another prompt
    python tools/demo.py photo.jpg "a man . a red car"          # names, separated by " . "
    python tools/demo.py photo.jpg "a man beside a red car"     # noun phrases of a caption
    python tools/demo.py photo.jpg "a man beside a red car" --phrases "man; red car"
    python tools/demo.py photo.jpg "zebra . okapi" --descriptions animals.json
    python tools/demo.py photos/ "a man . a red car" --out found/ --format coco
    python tools/demo.py photo.jpg "a dog . a frisbee" --model desco-fiber-b     # real photos
    python tools/demo.py photo.jpg "a dog" --config my_config.py --weights my_checkpoint.pth

Draws the boxes (demo.jpg) and writes the detections (demo.json). A folder gives one drawing and
one JSON file per image, and with --format one file about all of them; images that cannot be read
are listed at the end. A run over a folder that was interrupted goes on when the command is given
again. Nothing is written onto an image that is searched.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from command_line import (
    FolderRun,
    config_named,
    fail,
    image_argument,
    one_line,
    path_argument,
    prompt_options,
    quiet_imports,
    run_tool,
)
from tool_parser import ToolParser, add_model_options, add_prompt_options

# formats of fiber_mmdet.apis.save_results, whose import takes seconds, and endings of their files
TABLES = dict(
    coco='.coco.json',
    csv='.csv',
    jsonl='.jsonl',
    labelstudio='.labelstudio.json',
    parquet='.parquet',
)


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        'image',
        nargs='?',
        type=image_argument,
        help='image or folder; the packaged scene (fiber://scene) and a caption of it if left out',
    )
    parser.add_argument('prompt', nargs='?', help='what to look for')
    add_model_options(parser)
    parser.add_argument(
        '--out',
        type=path_argument,
        help='drawing to write, demo.jpg if not given; for a '
        'folder of images a folder, outputs/demo if not given',
    )
    parser.add_argument(
        '--json',
        type=path_argument,
        help='file for the detections of a single image; beside the drawing if not given',
    )
    parser.add_argument(
        '--format',
        choices=sorted(TABLES),
        help='also write all detections into one file, detections.* in the folder --out, or beside '
        'the drawing of a single image (docs/results.md)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='begin a folder anew, and replace what a run with other settings has left in --out',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,  # fiber_mmdet.apis.SCORE_THR, whose import takes seconds
        help='least score of a detection (default: %(default)s)',
    )
    parser.add_argument(
        '--custom-entities',
        action='store_true',
        default=None,
        help='the prompt is a list of names between periods, "man. red car"',
    )
    add_prompt_options(parser)
    parser.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'float16'),
        help='faster, with slightly different boxes; docs/performance.md has figures',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the model with torch.compile: pays off after many images of one size',
    )
    args = parser.parse_args()
    if args.image and not (args.prompt or '').strip() and not args.descriptions:
        parser.error(f'say what to look for: {parser.prog} IMAGE "a red circle . a blue star"')
    if args.json and args.image and args.image.is_dir():
        parser.error('--json is for a single image; a folder writes its JSON files to --out')
    if args.overwrite and not (args.image and args.image.is_dir()):
        parser.error('--overwrite is for folders; files of a single image are always replaced')
    return args


def places(args: argparse.Namespace) -> tuple[Path, Path, Path | None]:
    """Where the drawing, the detections and the table of a single image are written.

    Raises:
        OutputError: they cannot be, or would overwrite what is read.
    """
    from fiber_mmdet.outputs import image_format, output_path, refuse_inputs

    out = args.out or Path('demo.jpg')
    image_format(out)
    detections = output_path(args.json or out.with_suffix('.json'))
    table = args.format and output_path(out.with_suffix(TABLES[args.format]))
    refuse_inputs(
        [out, detections, table],
        [args.image, args.config, args.weights, args.descriptions],
        'choose another file with --out (and --json)',
    )
    return out, detections, table


def search_image(find, args: argparse.Namespace, out: Path, detections: Path, table) -> None:
    """Search one image, write and print what was found."""
    result = find.detect(str(args.image), score_thr=args.score_thr)
    print(
        result
        if len(result)
        else f'nothing scores {args.score_thr} or more; try a lower --score-thr'
    )
    result.draw(path=out)
    print(f'wrote {out}')
    print(f'wrote {result.save_json(detections)}')
    if table:
        write_table([result], table, args)


def write_table(results, table: Path, args: argparse.Namespace) -> None:
    """Write all detections into one file; paths of images are those within their folder.

    Label Studio serves a folder that holds folders of images, so theirs have its name in front.
    """
    from fiber_mmdet.apis import save_results

    image = args.image.expanduser().absolute()
    root = image if image.is_dir() else image.parent
    root = root.parent if args.format == 'labelstudio' else root
    print(f'wrote {save_results(results, table, args.format, root)}')


def folder_places(args: argparse.Namespace) -> tuple[Path, dict[Path, tuple[Path, Path]], Path]:
    """The folder of results, the drawing and the detections of each image, and the table.

    Raises:
        ImageError: the folder has no images.
        OutputError: images would be overwritten.
    """
    from fiber_mmdet.apis.inputs import list_folder
    from fiber_mmdet.outputs import distinct_names, refuse_inputs

    folder = args.image.expanduser()
    paths = list_folder(folder)
    out = (args.out or Path('outputs/demo')).expanduser()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'{out} is a file: --out of a folder of images is a folder')
    # a.png beside a.jpg keeps its ending, or one would overwrite the other
    found = {
        path: (out / f'{name}.jpg', out / f'{name}.json')
        for path, name in zip(paths, distinct_names(paths))
    }
    table = out / f'detections{TABLES.get(args.format, "")}'
    refuse_inputs(
        [place for pair in found.values() for place in pair] + [table] * bool(args.format),
        [*folder.iterdir(), args.config, args.weights, args.descriptions],
        'choose another folder with --out',
    )
    return out, found, table


def search_folder(
    find, args: argparse.Namespace, out: Path, found: dict[Path, tuple[Path, Path]], table: Path
) -> int:
    """Search a folder; returns the exit code."""
    from tqdm import tqdm

    from fiber_mmdet.apis.run_journal import JOURNAL, RunJournal, model_settings, prompt_settings

    folder = args.image.expanduser()
    settings = dict(
        images=str(folder.resolve()),
        **prompt_settings(find),
        score_thr=args.score_thr,
        precision=args.precision or 'float32',
        **model_settings(find.model, find.config),
    )
    journal = RunJournal(out / JOURNAL, settings, folder, args.overwrite)
    waiting = [path for path in found if not journal.is_done(path, found[path])]
    if len(waiting) < len(found):
        print(f'{len(found) - len(waiting)} of {len(found)} images were done before')
    run = FolderRun()
    for path in tqdm(run.each(waiting), total=len(waiting), unit='image', disable=None):
        with run.item(path):
            result = find.detect(path, score_thr=args.score_thr)
            drawing, detections = found[path]
            result.draw(path=drawing)
            result.save_json(detections)
            journal.add(path, found[path])
            names = ', '.join(f'{n} x {what}' for what, n in Counter(result.names).items())
            tqdm.write(one_line(f'{path.name}: {names or "nothing"}'))
    print(f'wrote {run.done} drawings and JSON files to {out}/')
    if run.interrupted:
        print('the same command goes on from here')
    elif args.format:
        with run.interruptible():
            journal.add_file(table)
            write_table(read_again(found, journal), table, args)
    return run.finish()


def read_again(found: dict[Path, tuple[Path, Path]], journal) -> Iterator[dict]:
    """What was found in the images that are done, from their JSON files."""
    for path, files in found.items():
        if journal.is_done(path, files):
            yield dict(json.loads(files[1].read_text(encoding='utf-8')), image=str(path))


def main() -> int:
    """The exit code: 1 if anything could not be done, 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.apis import FIBERInferencer, demo_image, demo_prompt
            from fiber_mmdet.host import need_extra
        if args.format == 'parquet':
            need_extra('pyarrow.parquet', 'tables', 'a parquet file')
        if args.image is None:
            args.image, args.prompt = Path(demo_image()), demo_prompt()
            print(f'looking at {args.image} for: {args.prompt}')
        options = prompt_options(args)
        if args.descriptions and not args.prompt:
            from fiber_mmdet.text import read_descriptions

            args.prompt = list(read_descriptions(options['descriptions']))
        is_folder = args.image.expanduser().is_dir()
        written = folder_places(args) if is_folder else places(args)
        find = FIBERInferencer(
            config_named(args),
            args.weights,
            args.device,
            args.tokenizer,
            precision=args.precision,
            compile=args.compile,
        )
        find.set_prompt(args.prompt, custom_entities=args.custom_entities, **options)
        if is_folder:
            return search_folder(find, args, *written)
        search_image(find, args, *written)
        return 0
    except (OSError, ValueError, ImportError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
