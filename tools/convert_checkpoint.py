"""Convert official FIBER checkpoints, of detectors and of image-text models, to ours and back:

    python tools/convert_checkpoint.py official.pth ours.pth \\
        --config configs/coco/fiber_swin-b_16xb2-24e_coco.py
    python tools/convert_checkpoint.py ours.pth official.pth --config CONFIG --reverse

What became of every key is printed. The config decides what is converted: that of an image-text
model (configs/vqa, …) takes its heads along, that of a detector the backbone alone; everything else
is kept aside in the file.
"""

import argparse
import sys

from mmengine.config import Config, ConfigDict

from command_line import run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        'src',
        help='official checkpoint, or its address (hf://…, https://…); with --reverse one of ours',
    )
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', required=True, help='config of the model the weights are for')
    parser.add_argument('--reverse', action='store_true', help='from ours to official')
    parser.add_argument('--ema', action='store_true', help='take the averaged weights (model_ema)')
    parser.add_argument(
        '--swap-rgb',
        action='store_true',
        help='reverse the colour channels of the patch embedding: for a detector, which sees BGR, '
        'to be trained from image-text weights, which saw RGB',
    )
    return parser.parse_args()


def model_config(path: str) -> ConfigDict:
    """The model's part of a config file.

    Raises:
        ConversionError: there is no such file, or no model in it.
    """
    from fiber_mmdet.checkpoints import ConversionError
    from fiber_mmdet.weights.configs import config_file

    try:
        config = Config.fromfile(config_file(path))
    except OSError as error:
        raise ConversionError(f'{path}: cannot be read ({error})') from error
    if 'model' not in config:
        raise ConversionError(f'{path}: has no `model`; give the config of a model')
    return config.model


def main() -> None:
    """Convert a file and print what became of every key."""
    args = parse_args()
    from fiber_mmdet.checkpoints import ConversionError
    from fiber_mmdet.convert import convert_file, skeleton
    from fiber_mmdet.outputs import OutputError, output_path, refuse_inputs
    from fiber_mmdet.weights import local_weights

    try:
        refuse_inputs([output_path(args.dst)], [args.src, args.config])
        convert_file(
            local_weights(args.src),
            args.dst,
            skeleton(model_config(args.config)),
            reverse=args.reverse,
            ema=args.ema,
            swap_rgb=args.swap_rgb,
        )
    except (ConversionError, OutputError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    run_tool(main)
