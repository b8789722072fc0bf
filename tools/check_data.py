#!/usr/bin/env python3
"""Check the data of a config before training or testing on them:

    python tools/check_data.py configs/scenes/fiber_mini_scenes.py
    python tools/check_data.py CONFIG --splits val test --sample 500
    python tools/check_data.py CONFIG --drawing boxes.png
    python tools/check_data.py CONFIG \\
        --cfg-options train_dataloader.dataset.data_root=my/data/

Lists every missing file and folder, reads all annotations as training would, decodes some images,
checks their boxes and prompts, or their texts, questions and answers, and prints what there is.
The exit code is 0 if there is no problem. No model is built and no GPU is needed.
"""

import argparse

from command_line import check_drawing, config_of, fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_data_options


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=('train', 'val', 'test'),
        default=['train', 'val', 'test'],
        help='which data',
    )
    parser.add_argument(
        '--sample',
        type=int,
        default=100,
        metavar='N',
        help='samples of each dataset to look at (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of their choice')
    parser.add_argument(
        '--drawing',
        type=path_argument,
        metavar='FILE',
        help='write a drawing of where in their images the training boxes are, name by name',
    )
    add_data_options(parser)
    return parser.parse_args()


def examine(args: argparse.Namespace):
    """The report on the data of the config."""
    from fiber_mmdet.inspection.data_check import check_data

    return check_data(config_of(args), args.splits, args.sample, args.seed)


def table(report) -> list[str]:
    """Lines of the summary: one per dataset, its notes below."""
    boxes, pairs = (
        [part for part in report.sources if part.kind == kind] for kind in ('boxes', 'texts')
    )
    lines = []
    if boxes:
        lines += rows_of(boxes, ('samples', 'images', 'with boxes', 'boxes', 'prompts'), box_cells)
    if pairs:
        lines += rows_of(pairs, ('samples', 'images', 'texts', 'of these'), text_cells)
    return lines


def draw(report, out) -> None:
    """Draw the boxes of the training.

    Raises:
        ValueError: it has none, or too many images; the drawing would be one of them.
    """
    import numpy as np

    from fiber_mmdet.evaluation.constant_box import relative_boxes
    from fiber_mmdet.outputs import refuse_inputs
    from fiber_mmdet.visualization.box_places import draw_box_places

    refuse_inputs([out], [path for part in report.sources for path in part.images])
    found: dict[str, list] = {}
    for part in report.sources:
        if 'train' in part.source.splits and part.boxes_of and part.records is not None:
            names = list(part.boxes_of)
            for label, boxes in relative_boxes(part.records).items():
                found.setdefault(names[label], []).append(boxes)
    draw_box_places({name: np.concatenate(boxes) for name, boxes in found.items()}, out)


def box_cells(part) -> list[str]:
    """Cells of a dataset of the detector."""
    counts = part.counts
    prompts = (
        ', '.join(
            f'{counts[what]} {what}'
            for what in ('categories', 'captions', 'descriptions')
            if counts.get(what)
        )
        or '-'
    )
    return [
        *(str(counts.get(key, '-')) for key in ('samples', 'images', 'with boxes', 'boxes')),
        prompts,
    ]


def text_cells(part) -> list[str]:
    """Cells of a dataset of images and texts."""
    counts = part.counts
    kinds = (
        ', '.join(
            f'{counts[what]} {what}'
            for what in ('answered', 'true', 'cut')
            if what in counts and (counts[what] or what != 'cut')
        )
        or '-'
    )
    return [*(str(counts.get(key, '-')) for key in ('samples', 'images', 'texts')), kinds]


def rows_of(parts, columns, cells) -> list[str]:
    """A heading, and a line for each dataset with its notes below."""
    rows = [('split', 'annotations', *columns, 'looked at')]
    for part in parts:
        splits = part.source.cfg.get('splits')
        chosen = (
            f' ({", ".join([splits] if isinstance(splits, str) else splits)})' if splits else ''
        )
        rows.append(
            (
                '+'.join(part.source.splits),
                ', '.join(part.source.annotations) + chosen,
                *cells(part),
                str(part.looked_at),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
    for part, i in zip(reversed(parts), range(len(rows), 1, -1)):
        lines[i:i] = [f'    {line}' for line in (*part.details, *part.notes)]
    return lines


def main() -> int:
    """The exit code: 1 if there is a problem."""
    args = parse_args()
    try:
        with quiet_imports():
            if args.drawing:
                check_drawing([args.drawing], [args.config])
            report = examine(args)
            if args.drawing:
                draw(report, args.drawing)
    except (OSError, ValueError, AssertionError, SyntaxError) as error:  # of the config, too
        return fail(error)
    if report.sources:
        print('\n'.join(table(report)))
    for fault in report.faults:
        print(f'PROBLEM: {fault}')
    count = len(report.faults)
    print(f'{count} problem{"s" * (count > 1)}' if count else 'no problems found')
    return int(bool(report.faults))


if __name__ == '__main__':
    run_tool(main)
