#!/usr/bin/env python3
"""Make a folder to ship from a training run: the config in one file and the weights alone.

    python tools/publish_checkpoint.py CONFIG CHECKPOINT OUT_DIR --half
    python tools/publish_checkpoint.py CONFIG CHECKPOINT OUT_DIR --heads itc itm vqa --max-mb 10

Writes OUT_DIR/config.py, with what prediction needs, and OUT_DIR/weights.pth, without optimizer and
history but with the list of answers of a VQA model. Heads that only training needs, such as masked
words, are left out with --heads, and so are the weights that no other head uses.
"""

import argparse
import errno
import sys

from command_line import path_argument, run_tool
from tool_parser import ToolParser

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
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of the run')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('out_dir', type=path_argument, help='folder to write')
    parser.add_argument('--half', action='store_true', help='store floats as float16')
    parser.add_argument(
        '--heads',
        nargs='+',
        metavar='HEAD',
        help='of an image-text model, to be kept; all if left out',
    )
    parser.add_argument(
        '--answers',
        type=path_argument,
        help='json list of what the classes of a VQA head stand for, if neither the checkpoint nor '
        "the config's dataset has it",
    )
    parser.add_argument(
        '--max-mb', type=float, metavar='SIZE', help='write nothing if the weights are larger'
    )
    return parser.parse_args()


def publish(args: argparse.Namespace) -> None:
    """Write the two files.

    Raises:
        OSError, SyntaxError: the config cannot be read.
        ConversionError: the checkpoint cannot be read, or its values do not fit float16.
        ValueError: a head that the config has not, weights that do not fit it, a wrong list of
            answers, or larger weights than asked for.
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
    from fiber_mmdet.weights.configs import config_file

    weights, shipped_config = args.out_dir / 'weights.pth', args.out_dir / 'config.py'
    config = Config.fromfile(config_file(args.config))
    # the text of a config begins each file that it is based on by its name
    based_on = [line for line in config.text.splitlines() if line.endswith('.py')]
    inputs = [args.config, args.checkpoint, args.answers, *based_on]
    refuse_inputs([weights, shipped_config], inputs, 'choose another folder')
    checkpoint = read_checkpoint(local_weights(args.checkpoint))
    if holds_official(checkpoint):
        model = skeleton(config.model)
        state = weights_for(checkpoint, model, args.checkpoint).weights
    else:
        state = our_weights(checkpoint, args.checkpoint)
    if args.heads:
        state = keep_heads(config.model, state, args.heads, args.checkpoint)
    # files that a training started from
    config.get('model', {}).get('backbone', {}).pop('pretrained', None)
    kept = Config({key: config[key] for key in KEPT if key in config})
    answers = answers_of(config, stored_answers(checkpoint, args.checkpoint), args.answers)
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
        size = part.stat().st_size / 1e6
        if args.max_mb is not None and size > args.max_mb:
            raise ValueError(
                f'the weights take {size:.2f} MB, more than --max-mb {args.max_mb:g}: store them '
                'with --half, keep fewer --heads, or train a smaller model'
            )
    write_text(shipped_config, kept.pretty_text, inputs)


def keep_heads(model, state, heads: list[str], name: str) -> dict:
    """Take all heads but some out of a model's config, and their weights out of its state dict.

    Args:
        model: config of a FIBERForVL, changed in place.
        state: its weights.
        heads: names of the heads that stay.
        name: of the checkpoint, for errors.

    Returns:
        The weights of what stays.

    Raises:
        ValueError: the config has no such head, or the weights are not those of the config.
    """
    from fiber_mmdet.checkpoints.fitting import fitting_weights
    from fiber_mmdet.convert import skeleton

    there = {key: head for key, head in model.get('heads', {}).items() if head is not None}
    if unknown := [key for key in heads if key not in there]:
        raise ValueError(
            f'--heads: {", ".join(unknown)} is not in model.heads of the config, which has '
            f'{", ".join(there) or "none"}'
        )
    state = fitting_weights(dict(state_dict=state), skeleton(model), name)
    model.heads = {key: head for key, head in there.items() if key in heads}
    if model.get('predict_with') is not None:
        model.predict_with = [key for key in model.predict_with if key in heads]
    if model.get('tasks') is not None:
        tasks = {
            task: [key for key in of_task or () if key in heads]
            for task, of_task in model.tasks.items()
        }
        model.tasks = {task: of_task for task, of_task in tasks.items() if of_task}
    needed = skeleton(model).state_dict()
    return {key: value for key, value in state.items() if key in needed}


def answers_of(config, stored: list[str], given) -> list[str]:
    """The answers of a VQA model: those given, or else the checkpoint's, or else the dataset's.

    Raises:
        OSError, ValueError: a file without a list of answers.
    """
    from fiber_mmdet.apis.image_text_loading import find_answers
    from fiber_mmdet.apis.loading import RANDOM, LoadingError
    from fiber_mmdet.datasets.dataset_tree import type_name

    heads = config.get('model', {}).get('heads', {}).values()
    if stored and given is None:
        return stored
    if given is None and not any(head and type_name(head) == 'VQAHead' for head in heads):
        return []
    try:
        return find_answers(config, RANDOM, given)
    except LoadingError as error:
        print(f'published without answers: {error}', file=sys.stderr)
        return []


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
    run_tool(main)
