"""Fill what a FIBER model shares with another system, for a training that starts from it.

CONFIG=configs/pretrain/…
python tools/borrow_weights.py glip_tiny_model_o365_goldg_cc_sbu.pth start.pth --config CONFIG
python tools/train.py CONFIG --cfg-options load_from=start.pth

docs/warm_starts.md says which systems, which of their files, and what each is good for.
"""

import argparse
import sys

from command_line import path_argument, weights_argument


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description='Borrow weights for a FIBER model from another system, reporting every key.'
    )
    parser.add_argument(
        'donor',
        type=weights_argument,
        help='checkpoint of GLIP, METER, Grounding DINO, X-VLM, BridgeTower or VoLTA, or its '
        'address (fiber://glip-t: tools/weights.py list has the names; hf://…; https://…)',
    )
    parser.add_argument('ours', type=path_argument, help='file to write, for load_from')
    parser.add_argument('--config', required=True, help='config of the model that is to start')
    parser.add_argument(
        '--parts',
        help='what to take, separated by commas, of image, text, attention, neck, tower, boxes, '
        'words, readouts, itm; by default what the donor is good for',
    )
    return parser.parse_args()


def main() -> None:
    """Write the file and print what became of every key."""
    args = parse_args()
    from convert_checkpoint import model_config
    from fiber_mmdet.checkpoints import ConversionError
    from fiber_mmdet.convert import skeleton
    from fiber_mmdet.convert.borrowing import borrow_file
    from fiber_mmdet.convert.donors.colours import colours_of
    from fiber_mmdet.outputs import OutputError, output_path, refuse_inputs
    from fiber_mmdet.weights import local_weights

    parts = None
    if args.parts is not None:
        parts = [part.strip() for part in args.parts.split(',') if part.strip()]
    try:
        refuse_inputs([output_path(args.ours)], [args.donor, args.config])
        config = model_config(args.config)
        borrow_file(
            local_weights(args.donor),
            args.ours,
            skeleton(config),
            lambda: colours_of(config),
            parts=parts,
        )
    except (ConversionError, OutputError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
