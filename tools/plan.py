#!/usr/bin/env python3
"""Compute what the training of a config takes: memory, operations, days, sizes of files:

    python tools/plan.py CONFIG --gpus 8 --gpu h100
    python tools/plan.py coco/fiber_swin-b_16xb2-24e_coco --gpus 16 --gpu v100 --samples 117266
    python tools/plan.py CONFIG --gpus 64 --gpu a100-80 --pairs 400e6 --precision bf16 --shard
    python tools/plan.py CONFIG --batch 16 --texts 5 --tokens 40 --size 384x384 --json plan.json
    python tools/plan.py scenes/fiber_mini_scenes --gpu cpu --measure

Nothing is read and nothing is trained: the model of the config runs an iteration on tensors that
have shapes but no values, in seconds, and what it keeps and multiplies is counted. Times follow
from the rate of the GPU and a share of it that is assumed (--utilisation). docs/scaling.md says how
good these figures are.
"""

import argparse
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from get_flops import size
from tool_parser import ToolParser, add_data_options


def count(text: str) -> float:
    """A number of images or pairs: 400000000, 400_000_000 or 400e6.

    Raises:
        argparse.ArgumentTypeError: another form, or below 1.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} must be a number of 1 or more')
    return number


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of a training: detector or image-text model')
    parser.add_argument('--gpus', type=int, default=1, help='number of GPUs')
    parser.add_argument(
        '--gpu',
        default='h100',
        help='a100-40, a100-80, h100, h200, b200, l40s, a10, t4, v100, rtx4090, rtx3090; or cpu, '
        'this computer, whose rate is measured',
    )
    parser.add_argument('--batch', type=int, help="images of a GPU; by default the config's")
    parser.add_argument('--texts', type=int, help="texts of an image; by default the config's most")
    parser.add_argument(
        '--tokens', type=int, help='tokens of a text; by default the most that the model reads'
    )
    parser.add_argument(
        '--size',
        type=size,
        help='HEIGHTxWIDTH in pixels; by default the largest images of the training of a '
        'detector, and what the windows are made for in an image-text model',
    )
    parser.add_argument(
        '--precision',
        choices=('fp32', 'tf32', 'fp16', 'bf16'),
        help="by default the config's; tf32: torch.set_float32_matmul_precision('high')",
    )
    parser.add_argument(
        '--checkpointing',
        action=argparse.BooleanOptionalAction,
        help="compute activations again in the backward pass; by default the config's choice",
    )
    parser.add_argument(
        '--shard',
        action=argparse.BooleanOptionalAction,
        help="share out weights, gradients and states (FSDP); by default the config's choice",
    )
    parser.add_argument(
        '--accumulate', type=int, help="iterations of a step; default: the config's"
    )
    parser.add_argument(
        '--utilisation',
        type=float,
        default=0.3,
        help="share of the GPU's rate of matrix products that the training reaches: an assumption",
    )
    parser.add_argument(
        '--overhead',
        type=float,
        default=1.0,
        help='GiB of a GPU for CUDA, libraries and gaps: an assumption',
    )
    parser.add_argument('--samples', type=count, help='images of the dataset, for the days')
    parser.add_argument('--pairs', type=count, help='pairs of image and text, instead of images')
    parser.add_argument('--epochs', type=int, help="over them; by default the config's, or 1")
    parser.add_argument(
        '--measure',
        action='store_true',
        help='run the iteration on this computer, too, and compare (with --gpu cpu)',
    )
    parser.add_argument(
        '--json', type=path_argument, help='file to write all figures to: bytes, FLOP, seconds'
    )
    add_data_options(parser)
    args = parser.parse_args()
    if args.samples and args.pairs:
        parser.error('--samples and --pairs say the same in two ways: give one')
    return args


def run(args: argparse.Namespace) -> tuple[dict, str]:
    """The plan, and its table."""
    from mmengine.config import Config

    from fiber_mmdet.inspection.data_sources import merge_options
    from fiber_mmdet.weights.configs import config_file
    from planning.plans import Options, make_plan
    from planning.report import table

    file = config_file(args.config)
    cfg = Config.fromfile(file)
    merge_options(cfg, args.cfg_options)
    names = 'gpus gpu batch texts tokens size precision checkpointing accumulate utilisation'
    chosen = {name: getattr(args, name) for name in names.split()}
    found = make_plan(
        cfg,
        Options(
            **chosen,
            sharded=args.shard,
            overhead=args.overhead,
            samples=args.samples,
            pairs=args.pairs,
            epochs=args.epochs,
            measure=args.measure,
        ),
    )
    found = dict(config=str(args.config), **found)
    return found, table(found)


def write(path: Path, found: dict) -> None:
    """Write the figures."""
    from fiber_mmdet.outputs import write_json

    write_json(path, found, indent=1)


def main() -> int:
    """Print the plan; returns the exit code: 0 also if it does not fit."""
    args = parse_args()
    try:
        with quiet_imports():
            found, text = run(args)
            if args.json:
                write(args.json, found)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        return fail(error)
    print(text)
    return 0


if __name__ == '__main__':
    run_tool(main)
