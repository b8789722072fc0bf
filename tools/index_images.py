#!/usr/bin/env python3
"""Encode images once into an index on disk, and search in millions of them with a text:

    python tools/index_images.py photos/ photos.index
    python tools/index_images.py photos/ more_photos/ photos.index --recursive --workers 8
    python tools/index_images.py photos/ photos.index --model fiber-b-itc --keep-prefixes float16
    python tools/demo_image_text.py retrieve --index photos.index "a dog on a beach" --rerank

The same command goes on where it was interrupted, adds images that are new, encodes those again
whose files have changed, and leaves out those that are gone. Images that cannot be read are listed
with their reasons. Needs the extra `search` (faiss-cpu); docs/retrieval.md says more.
"""

import argparse
import sys
from collections.abc import Sequence

from command_line import config_named, fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_model_options


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('images', nargs='+', type=path_argument, help='image files and folders')
    parser.add_argument('index', type=path_argument, help='folder of the index')
    parser.add_argument('--recursive', action='store_true', help='also images in subfolders')
    add_model_options(parser)
    parser.add_argument(
        '--kind',
        choices=('auto', 'exact', 'ivf', 'hnsw'),
        default='auto',
        help='what finds neighbours; auto: by the number of images (default: %(default)s)',
    )
    parser.add_argument(
        '--half', action='store_true', help='features in float16: half the room, cosines to 0.0005'
    )
    parser.add_argument(
        '--keep-prefixes',
        choices=('float32', 'float16'),
        help='keep what re-ranking needs, instead of reading the nearest images again',
    )
    parser.add_argument(
        '--batch-size', type=int, default=16, help='images at a time (default: %(default)s)'
    )
    parser.add_argument(
        '--workers', type=int, default=0, help='processes that read images (default: %(default)s)'
    )
    return parser.parse_args(arguments)


def main() -> int:
    """The exit code: 1 if an image could not be read, 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.apis import ImageIndex, ImageTextInferencer

            ask = ImageTextInferencer(
                config_named(args),
                args.weights,
                args.device,
                args.tokenizer,
                batch_size=max(args.batch_size, 1),
            )
        index = ImageIndex.build(
            args.index,
            ask,
            args.images,
            recursive=args.recursive,
            kind=args.kind,
            dtype='float16' if args.half else 'float32',
            keep_prefixes=args.keep_prefixes,
            workers=max(args.workers, 0),
        )
    except (OSError, ValueError, ImportError, MemoryError) as error:
        return fail(error)
    except KeyboardInterrupt:
        print('interrupted: what is encoded stays, the same command goes on', file=sys.stderr)
        return 130
    print(f'{args.index}: {index.changes}')
    return int(bool(index.changes.unreadable))


if __name__ == '__main__':
    run_tool(main)
