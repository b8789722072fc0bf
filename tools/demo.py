#!/usr/bin/env python3
"""Find words in an image:

    python tools/demo.py                                        # the packaged model and scene
    python tools/demo.py photo.jpg "a man . a red car"          # names, separated by " . "
    python tools/demo.py photo.jpg "a man beside a red car"     # noun phrases of a caption
    python tools/demo.py photos/ "a man . a red car" --out found/
    python tools/demo.py photo.jpg "a dog" --config my_config.py --weights my_checkpoint.pth

Draws the boxes (demo.jpg) and writes the detections (demo.json). A folder gives one drawing and
one JSON file per image.
"""

import argparse
import ast
import sys
from collections import Counter
from pathlib import Path

from command_line import fail, quiet_imports


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image', nargs='?', help='image or folder; the packaged scene if left out')
    parser.add_argument('prompt', nargs='?', help='what to look for')
    parser.add_argument('--config', help='config of another model than the packaged one')
    parser.add_argument(
        '--weights', help='its checkpoint, or "random"; the load_from of the config if not given'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='drawing to write, demo.jpg if not given; for a '
        'folder of images a folder, outputs/demo if not given',
    )
    parser.add_argument(
        '--json',
        type=Path,
        help='file for the detections of a single image; beside the drawing if not given',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='least score of a detection (default: %(default)s)',
    )
    parser.add_argument(
        '--custom-entities',
        action='store_true',
        default=None,
        help='the prompt is a list of names between periods, "man. red car"',
    )
    parser.add_argument(
        '--tokens-positive',
        type=spans,
        metavar='SPANS',
        help='-1: the whole prompt describes one thing; or the characters of each '
        'phrase, such as "[[[0, 5]], [[10, 17]]]"',
    )
    parser.add_argument(
        '--chunked-size',
        type=int,
        metavar='N',
        help='read N names at a time, for vocabularies too long for a prompt',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')
    parser.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
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
    if args.image and not args.prompt:
        parser.error('say what to look for: demo.py IMAGE "a red circle . a blue star"')
    if args.json and args.image and Path(args.image).is_dir():
        parser.error('--json is for a single image; a folder writes its JSON files to --out')
    return args


def spans(text: str):
    """-1 or nested lists of numbers, from the command line."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is neither -1 nor lists such as "[[[0, 5]], [[10, 17]]]"'
        ) from error


def demo_scene() -> tuple[Path, str]:
    """The packaged image and its prompt."""
    import fiber_mmdet

    scene = Path(fiber_mmdet.__file__).parent / 'assets' / 'demo' / 'scene.png'
    return scene, scene.with_suffix('.txt').read_text(encoding='utf-8').strip()


def search_image(find, args: argparse.Namespace) -> None:
    """Search one image, write and print what was found."""
    result = find.detect(args.image, score_thr=args.score_thr)
    print(
        result
        if len(result)
        else f'nothing scores {args.score_thr} or more; try a lower --score-thr'
    )
    out = args.out or Path('demo.jpg')
    result.draw(path=out)
    print(f'wrote {out}')
    print(f'wrote {result.save_json(args.json or out.with_suffix(".json"))}')


def search_folder(find, args: argparse.Namespace) -> int:
    """Search a folder; returns how many of its images could not be read."""
    from tqdm import tqdm

    from fiber_mmdet.apis.inputs import list_folder

    paths = list_folder(Path(args.image))
    stems = Counter(path.stem for path in paths)
    out = args.out or Path('outputs/demo')
    failed = 0
    for path in tqdm(paths, unit='image', disable=None):
        # a.png beside a.jpg keeps its extension, or one would overwrite the other
        name = path.stem if stems[path.stem] == 1 else path.name
        try:
            result = find.detect(path, score_thr=args.score_thr)
        except ValueError as error:
            tqdm.write(f'error: {error}', file=sys.stderr)
            failed += 1
            continue
        result.draw(path=out / f'{name}.jpg')
        result.save_json(out / f'{name}.json')
        found = ', '.join(f'{n} x {what}' for what, n in Counter(result.names).items())
        tqdm.write(f'{path.name}: {found or "nothing"}')
    print(f'wrote {len(paths) - failed} drawings and JSON files to {out}/')
    return failed


def main() -> int:
    """The exit code: 1 if anything could not be done."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.apis import FIBERInferencer
        if not args.image:
            args.image, args.prompt = demo_scene()
            print(f'looking at {args.image} for: {args.prompt}')
        find = FIBERInferencer(
            args.config,
            args.weights,
            args.device,
            args.tokenizer,
            precision=args.precision,
            compile=args.compile,
        )
        find.set_prompt(
            args.prompt,
            custom_entities=args.custom_entities,
            tokens_positive=args.tokens_positive,
            chunked_size=args.chunked_size,
        )
        if Path(args.image).is_dir():
            return int(search_folder(find, args) > 0)
        search_image(find, args)
        return 0
    except (OSError, ValueError) as error:
        return fail(error)


if __name__ == '__main__':
    sys.exit(main())
