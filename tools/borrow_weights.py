"""Fill what a FIBER model shares with another system, for a training that starts from it:

    python tools/borrow_weights.py glip-t start.pth \\
        --config configs/pretrain/fiber_swin-t_64xb1-800k_flickr-mixed-o365.py
    python tools/train.py configs/pretrain/fiber_swin-t_64xb1-800k_flickr-mixed-o365.py \\
        --cfg-options load_from=start.pth

What became of every key is printed. docs/warm_starts.md says which systems, which of their files,
and what each is good for.
"""

import argparse
import sys

from command_line import path_argument, quiet_imports, run_tool, weights_argument
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        'donor',
        type=weights_argument,
        help='checkpoint of GLIP, METER, Grounding DINO, X-VLM, BridgeTower or VoLTA: a file, a '
        'name of tools/weights.py, hf://OWNER/REPOSITORY/FILE or a URL',
    )
    parser.add_argument('ours', type=path_argument, help='file to write, for load_from')
    parser.add_argument('--config', required=True, help='config of the model that is to start')
    parser.add_argument(
        '--parts',
        help='what to take, separated by commas, of image, text, attention, neck, tower, boxes, '
        'words, readouts, itm; by default what the donor is good for',
    )
    return parser.parse_args()


def main() -> int:
    """Write the file and print what became of every key; returns the exit code."""
    args = parse_args()
    with quiet_imports():
        from convert_checkpoint import model_config
        from fiber_mmdet.convert import skeleton
        from fiber_mmdet.convert.borrowing import borrow_file
        from fiber_mmdet.convert.donors.colours import colours_of
        from fiber_mmdet.outputs import output_path, refuse_inputs
        from fiber_mmdet.weights import local_weights
        from fiber_mmdet.weights.addresses import NAME_SCHEME, is_address, named

    parts = None
    if args.parts is not None:
        parts = [part.strip() for part in args.parts.split(',') if part.strip()]
    try:
        config = model_config(args.config)
        output, model = output_path(args.ours), skeleton(config)
        refuse_inputs([output], [args.config])
        known = not is_address(args.donor) and named(str(args.donor))
        donor = local_weights(f'{NAME_SCHEME}{known.name}' if known else args.donor)
        borrow_file(donor, output, model, lambda: colours_of(config), parts=parts)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)  # may list keys, a line each
        return 1
    return 0


if __name__ == '__main__':
    run_tool(main)
