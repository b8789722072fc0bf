#!/usr/bin/env python3
"""Look at the data as the model sees it:

    python tools/browse_dataset.py configs/scenes/fiber_mini_scenes.py
    python tools/browse_dataset.py CONFIG --split val --number 20 --out drawings/
    python tools/browse_dataset.py CONFIG --index 0 17 \\
        --cfg-options train_dataloader.dataset.data_root=my/data/

Runs samples through the pipeline of a config and writes a drawing of each: the image as
resized and mirrored, its boxes, the prompt cut into the tokens that the model reads, and which
tokens stand for which box. For an image-text task: its images side by side, the caption,
question or statement, and the answers with their scores or the label. No model is built and no
display is needed.
"""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from command_line import FolderRun, config_of, fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_data_options


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='train',
        help='whose dataset and pipeline (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=path_argument,
        default=Path('outputs/browse'),
        help='folder of the drawings (default: %(default)s)',
    )
    parser.add_argument(
        '--number',
        type=int,
        default=8,
        metavar='N',
        help='samples, drawn at random (default: %(default)s)',
    )
    parser.add_argument(
        '--index',
        type=int,
        nargs='+',
        metavar='I',
        help='these samples, counted from 0, instead of random ones',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the choice and of the pipeline')
    parser.add_argument('--format', choices=('jpg', 'png'), default='jpg', help='of the drawings')
    add_data_options(parser)
    return parser.parse_args()


def open_browser(args: argparse.Namespace):
    """The samples of the split, ready to be looked at.

    Raises:
        ValueError: the config has no such split.
    """
    from mmdet.registry import DATASETS

    from fiber_mmdet.inspection.browsing import PairBrowser, SampleBrowser, is_image_text
    from fiber_mmdet.inspection.data_check import model_tokenizer

    cfg = config_of(args)
    loader = cfg.get(f'{args.split}_dataloader')
    if not loader:
        raise ValueError(f'{args.config} has no {args.split}_dataloader: choose another --split')
    dataset, tokenizer = DATASETS.build(loader.dataset), model_tokenizer(cfg.model)
    if is_image_text(dataset):
        return PairBrowser(dataset, tokenizer)
    return SampleBrowser(
        dataset,
        tokenizer,
        test=args.split != 'train',
        chunked_size=(cfg.model.get('test_cfg') or {}).get('chunked_size', -1),
    )


def choose(args: argparse.Namespace, size: int) -> list[int]:
    """Indices of the samples to look at.

    Raises:
        ValueError: the dataset has no such sample.
    """
    import numpy as np

    if args.index:
        beyond = [i for i in args.index if not 0 <= i < size]
        if beyond:
            raise ValueError(f'there is no sample {beyond[0]}: the dataset has {size}')
        return args.index
    chosen = np.random.default_rng(args.seed).permutation(size)[: max(args.number, 0)]
    return sorted(chosen.tolist())


def main() -> int:
    """The exit code: 1 if anything could not be shown, 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            browser = open_browser(args)
        from fiber_mmdet.inspection.browsing import PairBrowser
        from fiber_mmdet.outputs import write_image
        from fiber_mmdet.visualization.samples import (
            draw_pair,
            draw_sample,
            pair_title,
            sample_title,
        )

        draw, title = draw_sample, sample_title
        if isinstance(browser, PairBrowser):
            draw, title = draw_pair, pair_title
        args.out.mkdir(parents=True, exist_ok=True)
        run, drawn = FolderRun('sample'), 0
        for index in run.each(choose(args, len(browser))):
            with run.item(f'sample {index}'):
                sample = browser.look(index, args.seed)
                if sample is None:
                    print(f'{index}  dropped by the pipeline')
                    continue
                images = images_of(sample)
                refuse_folder_of(filter(None, images), args.out)
                path = args.out / f'{index:06d}_{short(Path(images[0]).stem)}.{args.format}'
                write_image(path, draw(sample), filter(None, images), quality=95)
                print(title(sample))
                drawn += 1
        print(f'{len(browser)} samples in {args.split}; drawings of {drawn} in {args.out}/')
        return run.finish()
    except (OSError, ValueError, TypeError, KeyError, AssertionError, SyntaxError) as error:
        return fail(error)


def images_of(sample) -> list[str]:
    """Paths of the images of a sample."""
    return [view.path for view in getattr(sample, 'views', [sample])]


def refuse_folder_of(images: Iterable[str], out: Path) -> None:
    """Refuse to draw into a folder of the dataset, whose images have any names.

    Raises:
        OutputError: an image lies in the folder.
    """
    from fiber_mmdet.outputs import OutputError

    if any(Path(image).parent.resolve() == out.resolve() for image in images):
        raise OutputError(f'{out} is a folder of images of the dataset: choose another --out')


def short(name: str) -> str:
    """The beginning of a name, so that a file with a number before it can have it."""
    return os.fsdecode(os.fsencode(name)[:200])


if __name__ == '__main__':
    run_tool(main)
