#!/usr/bin/env python3
"""Look at the data as the model sees it:

    python tools/browse_dataset.py configs/scenes/fiber_mini_scenes.py
    python tools/browse_dataset.py CONFIG --split val --number 20 --out drawings/
    python tools/browse_dataset.py CONFIG --index 0 17 \
        --cfg-options train_dataloader.dataset.data_root=my/data/

Runs samples through the pipeline of a config and writes a drawing of each: the image as
resized and mirrored, its boxes, the prompt cut into the tokens that the model reads, and which
tokens stand for which box. For an image-text task: its images side by side, the caption,
question or statement, and the answers with their scores or the label. No model is built and no
display is needed.
"""

import argparse
import sys
from pathlib import Path

from command_line import add_data_options, fail, quiet_imports


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='train',
        help='whose dataset and pipeline (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        type=Path,
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
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import fiber_mmdet  # noqa: F401
    from fiber_mmdet.inspection.browsing import PairBrowser, SampleBrowser, is_image_text
    from fiber_mmdet.inspection.data_check import model_tokenizer
    from fiber_mmdet.inspection.data_sources import merge_options, replace_tokenizer

    cfg = Config.fromfile(args.config)
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    loader = cfg.get(f'{args.split}_dataloader')
    if not loader:
        raise ValueError(f'{args.config} has no {args.split}_dataloader: choose another --split')
    if args.tokenizer:
        replace_tokenizer(cfg._cfg_dict, args.tokenizer)
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
    """The exit code: 1 if anything could not be shown."""
    args = parse_args()
    failed = 0
    try:
        with quiet_imports():
            browser = open_browser(args)
        from PIL import Image

        from fiber_mmdet.inspection.browsing import PairBrowser
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
        chosen = choose(args, len(browser))
        for index in chosen:
            try:
                sample = browser.look(index, args.seed)
            except (OSError, ValueError, TypeError, KeyError, AssertionError, SyntaxError) as error:
                failed += fail(f'sample {index}: {error}')
                continue
            if sample is None:
                print(f'{index}  dropped by the pipeline')
                continue
            path = args.out / f'{index:06d}_{Path(sample.path).stem}.{args.format}'
            Image.fromarray(draw(sample)).save(path, quality=95)
            print(title(sample))
        print(
            f'{len(browser)} samples in {args.split}; drawings of {len(chosen) - failed} in '
            f'{args.out}/'
        )
    except (OSError, ValueError, TypeError, KeyError, AssertionError, SyntaxError) as error:
        return fail(error)
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
