#!/usr/bin/env python3
"""Export a model as programs that run without it, by onnxruntime or torch:

    python tools/export.py exported/                                  # the packaged detector
    python tools/export.py exported/ --model desco-fiber-b
    python tools/export.py configs/coco/fiber_swin-b_16xb2-24e_coco.py fiber_coco.pth exported/
    python tools/export.py exported/ --formats onnx --int8            # a quarter of the size
    python tools/export.py exported/ --compare photos/ "a dog . a frisbee"
    python tools/export.py exported/ --time 5                         # seconds beside the model's

The folder holds the image prefix, the text prefix and the fused tail with its head as three
programs, a manifest, the tokenizer and a runner (docs/export.md). Images may have any size, texts
any length, batches any number. Everything is compared with the model before the folder appears, and
what of the model was not exported is listed.
"""

import argparse

from command_line import config_named, fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser

FORMATS = ('onnx', 'pt2')


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.usage = '%(prog)s [CONFIG WEIGHTS] FOLDER [--model NAME] [options]'
    parser.add_argument(
        'paths',
        nargs='+',
        metavar='[CONFIG WEIGHTS] FOLDER',
        help='the folder to write; before it a config and its checkpoint, of another model than '
        'the packaged one',
    )
    parser.add_argument('--model', metavar='NAME', help='a known model (tools/weights.py list)')
    parser.add_argument(
        '--formats', nargs='+', choices=FORMATS, default=list(FORMATS), help='of the programs'
    )
    parser.add_argument(
        '--int8',
        action='store_true',
        help='weights of matrix products with 8 bits, in the ONNX programs',
    )
    parser.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
    parser.add_argument('--answers', help='json file with the answers of a VQA model')
    parser.add_argument(
        '--time',
        type=int,
        default=0,
        metavar='N',
        help='time N calls of each program and of the model, with one thread (default: none)',
    )
    parser.add_argument(
        '--compare',
        nargs=2,
        metavar=('IMAGES', 'PROMPT'),
        help='compare what a detector and its programs find in an image or a folder of them',
    )
    args = parser.parse_args()
    if len(args.paths) not in (1, 3):
        parser.error('give the folder to write, or a config, its weights and the folder')
    if len(args.paths) == 3 and args.model:
        parser.error('give either --model or a config')
    if args.compare and not args.compare[1].strip():
        parser.error('--compare needs a prompt: --compare photos/ "a dog . a frisbee"')
    if args.time < 0:
        parser.error(f'--time {args.time}: it is a number of calls')
    if args.int8 and 'onnx' not in args.formats:
        parser.error('--int8 is for the ONNX programs: add --formats onnx')
    args.folder = path_argument(args.paths[-1])
    args.config, args.weights = args.paths[:2] if len(args.paths) == 3 else (None, None)
    return args


def report(result) -> None:
    """Print how far each output is from the model's, and what was left out."""
    print(f'{"program":<16} {"output":<18} largest difference, in standard deviations')
    rows: dict[tuple[str, str], list[str]] = {}
    for backend, found in result.differences.items():
        for one in found:
            rows.setdefault((one.program, one.output), []).append(f'{backend} {one.error:.1e}')
    for (program, output), said in rows.items():
        print(f'{program:<16} {output:<18} {", ".join(said)}')
    for line in result.left_out:
        print(f'not exported: {line}')


def report_speeds(result, times: int) -> None:
    """Time the programs and print seconds and ratios."""
    import torch

    from fiber_mmdet.export.checking import speeds
    from fiber_mmdet.export.exported import ExportedModel

    torch.set_num_threads(1)
    for backend in result.differences:
        exported = ExportedModel(result.folder, backend, threads=1)
        print(f'\n{"program":<16} {"model":>9} {backend:>12} {"ratio":>6}   (median of {times})')
        for one in speeds(exported, result.programs, result.usual_inputs(), times):
            ratio = one.exported / one.model
            print(f'{one.program:<16} {one.model:8.3f}s {one.exported:11.3f}s {ratio:6.2f}')


def report_drift(result, config, args: argparse.Namespace) -> None:
    """Find a prompt in images with the model and with its programs, and print the differences."""
    from fiber_mmdet.apis import SCORE_THR, FIBERInferencer
    from fiber_mmdet.apis.inputs import list_images
    from fiber_mmdet.export.checking import drift
    from fiber_mmdet.export.runner import GroundingRunner

    images, _ = list_images(args.compare[0])
    find = FIBERInferencer(config, args.weights, 'cpu', args.tokenizer)
    wanted = find(images, args.compare[1], SCORE_THR / 2)
    for backend in result.differences:
        runner = GroundingRunner(result.folder, backend)
        found = drift(wanted, runner(images, args.compare[1], SCORE_THR / 2), SCORE_THR)
        print(
            f'\n{backend}: {found.found} of {found.detections} detections in {found.images} images '
            f'found, {found.added} others\nscores differ by {found.mean_score:.1e}, at most '
            f'{found.max_score:.1e}; boxes by at most {found.max_box:.2f} pixels'
        )


def main() -> int:
    """The exit code: 1 if the model cannot be exported."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.export import export_model
        config = config_named(args)
        result = export_model(
            args.folder,
            config,
            args.weights,
            args.tokenizer,
            args.formats,
            args.int8,
            args.answers,
            say=print,
        )
        report(result)
        if args.time:
            report_speeds(result, args.time)
        if args.compare:
            report_drift(result, config, args)
        size = sum(path.stat().st_size for path in result.folder.rglob('*') if path.is_file())
        print(f'wrote {result.folder}, {size / 1e6:.0f} MB')
        return 0
    except (OSError, ValueError, ImportError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
