"""Generate a dataset of coloured shapes, with boxes, captions, questions and statements:

    python tools/make_scenes.py data/scenes
    python tools/make_scenes.py data/small --train 200 --val 20 --test 20 --image-size 128

The same arguments write the same files.
"""

import argparse
import sys
from pathlib import Path

from command_line import run_tool
from fiber_scenes import (
    DEFAULT_SIZES,
    MAX_OBJECTS,
    QUESTIONS_PER_SCENE,
    SENTENCES_PER_SCENE,
    write_dataset,
)
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('root', type=Path, help='folder to create, such as data/scenes')
    for split, size in DEFAULT_SIZES.items():
        parser.add_argument(f'--{split}', type=int, default=size, metavar='N', help='scenes')
    parser.add_argument('--seed', type=int, default=0, help='seed of the dataset')
    parser.add_argument('--image-size', type=int, default=256, help='side of the images in pixels')
    parser.add_argument(
        '--train-sentences',
        type=int,
        default=SENTENCES_PER_SCENE,
        metavar='N',
        help='most sentences about a training scene',
    )
    parser.add_argument(
        '--train-questions',
        type=int,
        default=QUESTIONS_PER_SCENE,
        metavar='N',
        help='most questions about a training scene',
    )
    parser.add_argument(
        '--train-facts',
        type=int,
        default=0,
        metavar='N',
        help='most single facts about a training scene, in a file of their own',
    )
    parser.add_argument(
        '--train-tags',
        action='store_true',
        help='also list what is in each training scene, for multi-label classification',
    )
    parser.add_argument(
        '--max-objects',
        type=int,
        default=MAX_OBJECTS,
        metavar='N',
        help='most objects of a scene; fewer are easier to learn',
    )
    parser.add_argument(
        '--zoom',
        type=float,
        default=1.0,
        help='factor of the size of everything in the images, 1 to 2.5: with 2, an image of 96 '
        'pixels is like a cut-out of one of 192',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace another generated dataset in this folder'
    )
    return parser.parse_args()


def main() -> None:
    """Write the dataset and print what it contains."""
    args = parse_args()
    try:
        meta = write_dataset(
            args.root,
            sizes={split: getattr(args, split) for split in DEFAULT_SIZES},
            seed=args.seed,
            image_size=args.image_size,
            overwrite=args.overwrite,
            train_sentences=args.train_sentences,
            train_questions=args.train_questions,
            train_facts=args.train_facts,
            train_tags=args.train_tags,
            max_objects=args.max_objects,
            zoom=args.zoom,
        )
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    for split, counts in meta['counts'].items():
        print(f'{split}: ' + ', '.join(f'{n} {what}' for what, n in counts.items()))


if __name__ == '__main__':
    run_tool(main)
