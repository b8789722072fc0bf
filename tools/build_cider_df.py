#!/usr/bin/env python3
"""Count in how many images n-grams occur, for CIDEr-D: the reward of captioning, or its score:

    python tools/build_cider_df.py data/karpathy/dataset_coco.json --out data/karpathy/cider_df.json

Captions are in small letters, without punctuation, and end with <eos>.
"""

import argparse
import sys

from command_line import run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    parser = ToolParser(__doc__)
    parser.add_argument('ann_file', help="Karpathy's json file of captions")
    parser.add_argument('--out', required=True, help='json file to write')
    parser.add_argument(
        '--splits',
        nargs='+',
        metavar='SPLIT',
        help="splits to count (default: train, and COCO's restval if it is there)",
    )
    parser.add_argument('--n', type=int, default=4, help='longest n-gram (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from fiber_mmdet.datasets.image_text.karpathy_captions import karpathy_images
    from fiber_mmdet.outputs import output_path, refuse_inputs
    from fiber_mmdet.records import read_table
    from fiber_mmdet.text.cider_d import EOS, CiderD, caption_words

    try:
        refuse_inputs([output_path(args.out)], [args.ann_file])
        images = read_table(args.ann_file, 'images')
        splits = args.splits or [
            'train',
            *(['restval'] if any(image.get('split') == 'restval' for image in images) else []),
        ]
        images = karpathy_images(images, splits, args.ann_file)
        cider = CiderD.from_captions(
            (
                [caption_words(sentence['raw']) + [EOS] for sentence in image['sentences']]
                for _, image in images
            ),
            n=args.n,
        )
        cider.save(args.out, [args.ann_file])
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(
        f'{args.out}: {len(cider.document_frequency)} n-grams of {cider.ref_len} images '
        f'({", ".join(splits)})'
    )


if __name__ == '__main__':
    run_tool(main)
