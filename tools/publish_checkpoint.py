#!/usr/bin/env python3
"""Make a folder to ship from a training run: the config in one file and the weights alone.

    python tools/publish_checkpoint.py CONFIG CHECKPOINT OUT_DIR [--half]

Writes OUT_DIR/config.py, with what prediction needs, and OUT_DIR/weights.pth, without optimizer and
history but with the list of answers of a VQA model.
"""

import argparse
import errno
import sys

from command_line import path_argument

# what prediction, tools/test.py and mmdet's DetInferencer read
KEPT = (
    'custom_imports',
    'default_scope',
    'env_cfg',
    'visualizer',
    'vis_backends',
    'log_level',
    'model',
    'test_dataloader',
    'test_evaluator',
    'test_cfg',
)


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the run')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('out_dir', type=path_argument, help='folder to write')
    parser.add_argument('--half', action='store_true', help='store floats as float16')
    return parser.parse_args()


def publish(args: argparse.Namespace) -> None:
    """Write the two files.

    Raises:
        OSError, SyntaxError: the config cannot be read.
        ConversionError: the checkpoint cannot be read, or its values do not fit float16.
        OutputError, OSError, RuntimeError: a file cannot be written, or would replace one that is
            read.
    """
    import torch
    from mmengine.config import Config

    from fiber_mmdet.checkpoints import ConversionError, our_weights, read_checkpoint
    from fiber_mmdet.checkpoints.reading import holds_official, stored_answers
    from fiber_mmdet.checkpoints.soundness import not_finite
    from fiber_mmdet.convert import skeleton, weights_for
    from fiber_mmdet.outputs import refuse_inputs, write_text, writing
    from fiber_mmdet.weights import local_weights

    weights, shipped_config = args.out_dir / 'weights.pth', args.out_dir / 'config.py'
    config = Config.fromfile(args.config)
    # the text of a config begins each file that it is based on by its name
    based_on = [line for line in config.text.splitlines() if line.endswith('.py')]
    inputs = [args.config, args.checkpoint, *based_on]
    refuse_inputs([weights, shipped_config], inputs, 'choose another folder')
    kept = Config({key: config[key] for key in KEPT if key in config})
    checkpoint = read_checkpoint(local_weights(args.checkpoint))
    if holds_official(checkpoint):
        model = skeleton(config.model)
        state = weights_for(checkpoint, model, args.checkpoint).weights
    else:
        state = our_weights(checkpoint, args.checkpoint)
    answers = stored_answers(checkpoint, args.checkpoint)
    meta = dict(dataset_meta=dict(answers=answers)) if answers else {}
    if args.half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        if too_large := not_finite(state):
            raise ConversionError(
                f'{args.checkpoint}: values of {", ".join(too_large[:3])} do not fit float16: '
                'publish it without --half'
            )
    with writing(weights, inputs) as part:
        try:
            torch.save(dict(state_dict=state, meta=meta), part)
        except RuntimeError as error:  # torch's way to say that a disk is full
            raise OSError(errno.EIO, ' '.join(str(error).split())) from error
    write_text(shipped_config, kept.pretty_text, inputs)


def main() -> None:
    """Write the two files and print their sizes."""
    args = parse_args()
    try:
        publish(args)
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:
        sys.exit(f'error: {error}')
    for path in sorted(args.out_dir.glob('*')):
        print(f'{path} {path.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
