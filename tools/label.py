#!/usr/bin/env python3
"""Label any number of images, on this machine or a cluster, and train on the labels:

    python tools/label.py photos/ --names "a man" "red car" --out labels/
    python tools/label.py photos/ --names names.txt --thresholds per_name.json --nms 0.7 \\
        --min-size 8 --max-boxes 100 --format odvg --out labels/ --model desco-fiber-b
    python tools/label.py photos/ --out labels/ --config faster-rcnn.py --weights faster-rcnn.pth
    python tools/label.py s3://bucket/shards/ --text-from txt --format odvg --out found/
    python tools/label.py photos.parquet --prompt "a man beside a red car" --out found/
    python tools/label.py photos/ --task caption --out captions/ --workers 2
    python tools/label.py photos/ --task answer --questions "is it sunny?" --out answers/
    python tools/label.py list.txt --task embed --out features/ --no-ray

SOURCE is a folder (with its subfolders), a list with a path per line, a parquet file, tar shards,
or a folder of these; a path or an address of an object store (s3://, gs://, abfs://, hdfs://).
Work is done in blocks by workers that load the model once: Ray schedules them, also on a cluster
(--ray-address); --no-ray is the same loop in this process. A job that was interrupted, even by
kill -9, goes on when the command is given again, and every image is labelled exactly once. Images
that cannot be read are listed in unreadable.csv. docs/bulk_labelling.md says more.
"""

import argparse
from pathlib import Path

from command_line import (
    config_named,
    fail,
    path_argument,
    prompt_options,
    quiet_imports,
    run_tool,
)
from tool_parser import ToolParser, add_model_options, add_prompt_options

# those of fiber_mmdet.bulk, whose import takes seconds
TASKS = dict(
    detect=('coco', 'odvg', 'csv', 'parquet', 'jsonl', 'labelstudio'),
    caption=('tsv', 'csv', 'jsonl', 'parquet'),
    answer=('jsonl', 'csv', 'parquet'),
    embed=('parquet',),
)


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('source', metavar='SOURCE', help='images: see above')
    parser.add_argument(
        '--out', type=path_argument, required=True, help='folder of the results, for this job alone'
    )
    formats = list(dict.fromkeys(sum(TASKS.values(), ())))
    parser.add_argument(
        '--format',
        choices=formats,
        help='of the results: '
        + '; '.join(f'{task}: {", ".join(known)}' for task, known in TASKS.items())
        + '; the first if not given',
    )
    parser.add_argument(
        '--task', choices=list(TASKS), default='detect', help='what is said about each image'
    )
    add_model(parser.add_argument_group('the model'))
    add_prompt(parser.add_argument_group('what is asked'))
    add_rules(parser.add_argument_group('which boxes are kept'))
    add_source(parser.add_argument_group('images'))
    add_running(parser.add_argument_group('running'))
    args = parser.parse_args()
    if args.format is not None and args.format not in TASKS[args.task]:
        parser.error(f'--task {args.task} is written as {", ".join(TASKS[args.task])}')
    if args.prompt is not None and args.names is not None:
        parser.error('--prompt and --names say what to look for: give one of them')
    if args.text_from is not None and (args.prompt or args.names or args.questions):
        parser.error(
            '--text-from: each image has its own text; drop --prompt, --names, --questions'
        )
    return args


def add_model(group) -> None:
    """Options of the model."""
    add_model_options(
        group,
        'config of another model than the packaged one; of boxes also any detector of mmdet, a '
        'file or mmdet::FOLDER/NAME.py',
    )
    group.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'float16'),
        help='of a FIBER detector: faster, with slightly different boxes',
    )
    group.add_argument('--answers', help='json list of what the classes of a VQA head stand for')


def add_prompt(group) -> None:
    """Options of what is asked."""
    group.add_argument('--prompt', help='what to look for: names, "man . red car", or a caption')
    group.add_argument(
        '--names',
        nargs='+',
        metavar='NAME',
        help='names to look for, or a text file with one per line; of a detector with classes of '
        'its own, those that are kept',
    )
    group.add_argument(
        '--text-from',
        metavar='FIELD',
        help='each image has its own prompt (or question, with --task answer): the column of a '
        'table, or a member of a shard, txt or json:caption',
    )
    group.add_argument('--questions', nargs='+', default=[], help='about each image')
    add_prompt_options(group)


def add_rules(group) -> None:
    """Options of the rules for boxes."""
    group.add_argument('--score-thr', type=float, default=0.5, help='least score')
    group.add_argument(
        '--thresholds',
        type=path_argument,
        metavar='FILE',
        help='least scores of single names, json or yaml: {"dog": 0.4}',
    )
    group.add_argument(
        '--nms',
        type=float,
        metavar='IOU',
        help='drop boxes that overlap a better one of their name by more',
    )
    group.add_argument(
        '--nms-across',
        type=float,
        metavar='IOU',
        help='drop boxes that overlap a better one of any name by more',
    )
    group.add_argument(
        '--min-size', type=float, default=0, metavar='PIXELS', help='least width and height'
    )
    group.add_argument('--max-boxes', type=int, metavar='N', help='the best of each image')
    group.add_argument('--drop-empty', action='store_true', help='leave out images without a box')


def add_source(group) -> None:
    """Options of the images."""
    group.add_argument(
        '--root', help='folder of the paths in a list or table; its own folder if not given'
    )
    group.add_argument(
        '--image-column',
        metavar='NAME',
        help='of a parquet file: paths, or image files; image, path, … if not given',
    )
    group.add_argument(
        '--keep-images',
        action='store_true',
        help='write images of parquet files and shards to --out/images, to train on them',
    )


def add_running(group) -> None:
    """Options of the run."""
    group.add_argument('--no-ray', action='store_true', help='label in this process')
    group.add_argument(
        '--workers',
        type=int,
        nargs='+',
        metavar='N',
        help='processes with a model each; two numbers: from, to. One for each GPU, or one, if '
        'not given',
    )
    group.add_argument(
        '--ray-address', metavar='ADDRESS', help='of a running cluster; auto for the one here'
    )
    group.add_argument(
        '--cpus-per-worker',
        type=float,
        default=1,
        metavar='N',
        help='that Ray reserves, and threads of PyTorch',
    )
    group.add_argument(
        '--gpus-per-worker',
        type=float,
        metavar='N',
        help='0.5 for two that share one; 1 if there is any and none is given',
    )
    group.add_argument('--batch-size', type=int, default=8, metavar='N', help='images of one size')
    group.add_argument(
        '--block-size', type=int, default=128, metavar='N', help='images that are done at a time'
    )
    group.add_argument(
        '--readers', type=int, default=2, metavar='N', help='threads of a worker that read images'
    )
    group.add_argument(
        '--overwrite', action='store_true', help='begin anew, and replace what is in --out'
    )
    group.add_argument(
        '--again',
        action='store_true',
        help='look again at blocks with images that could not be read, as after a store failed',
    )
    group.add_argument(
        '--as-listed',
        action='store_true',
        help='go on with the images that were listed at first, whatever has changed',
    )


def names_of(args: argparse.Namespace) -> list[str] | None:
    """The names that are looked for; of a text file, one per line."""
    from fiber_mmdet.records import read_lines

    if args.names is None:
        return None
    if len(args.names) == 1 and Path(args.names[0]).expanduser().is_file():
        file = str(Path(args.names[0]).expanduser())
        return [line.strip() for _, line in read_lines(file)]
    return args.names


def task_of(args: argparse.Namespace):
    """What is asked of which model."""
    from fiber_mmdet.bulk import Rules, Task, read_thresholds

    prompt = names_of(args) or args.prompt
    options = prompt_options(args)
    if args.descriptions and prompt is None and args.text_from is None:
        from fiber_mmdet.text import read_descriptions

        prompt = list(read_descriptions(options['descriptions']))
    rules = Rules()
    if args.task == 'detect':
        rules = Rules(
            args.score_thr,
            read_thresholds(args.thresholds) if args.thresholds else {},
            args.min_size,
            args.nms,
            args.nms_across,
            args.max_boxes,
        )
    return Task(
        task=args.task,
        config=config_named(args),
        weights=args.weights,
        device=args.device,
        tokenizer=args.tokenizer,
        precision=args.precision,
        answers=args.answers,
        prompt=prompt,
        prompt_options=options,
        questions=args.questions,
        rules=rules,
        batch_size=args.batch_size,
    )


class Bar:
    """A bar of blocks in a terminal, and the count of images."""

    def __init__(self) -> None:
        self.bar = None
        self.images = self.unreadable = 0

    def began(self, blocks: int, before: int) -> None:
        """Say what was done before."""
        from tqdm import tqdm

        if before:
            print(f'{before} of {blocks} blocks were done before')
        self.bar = tqdm(total=blocks, initial=before, unit='block', disable=None)

    def finished(self, count) -> None:
        """A block is done."""
        self.images += count.images
        self.unreadable += count.unreadable
        self.bar.set_postfix(images=self.images, unreadable=self.unreadable, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()


def print_report(report, out: Path) -> int:
    """Say what was done; returns the exit code."""
    from fiber_mmdet.bulk.merging import UNREADABLE
    from fiber_mmdet.formats.labelled import listed

    tally = report.tally
    if report.images:
        rate = report.images / max(report.seconds, 1e-9)
        print(f'{report.images} images in {report.seconds:.1f} s, {rate:.1f} a second')
    print(f'{tally.labelled} of {tally.images} images are labelled', end='')
    boxes = (f'{count} x {name}' for name, count in tally.names.most_common())
    print(f': {listed(boxes, 10)}' if tally.names else '')
    for file in report.files:
        print(f'wrote {file}')
    if tally.unreadable:
        print(
            f'{tally.unreadable} of {tally.images} images cannot be read: '
            f'{out / UNREADABLE} has the reasons'
        )
    return int(bool(tally.unreadable))


def main() -> int:
    """The exit code: 1 if anything could not be done, 130 after Ctrl-C."""
    args = parse_args()
    bar = Bar()
    try:
        with quiet_imports():
            from fiber_mmdet.bulk import Cluster, Output, Source, label
        least, most = ((args.workers or [None]) * 2)[:2]
        if args.workers and (len(args.workers) > 2 or least < 1 or most < least):
            raise ValueError(f'--workers {args.workers}: a number, or two, from and to')
        cluster = Cluster(least, most, args.ray_address, args.cpus_per_worker, args.gpus_per_worker)
        report = label(
            Source(args.source, args.root, args.image_column, args.text_from, args.block_size),
            Output(
                args.out,
                args.format,
                args.drop_empty,
                args.keep_images,
                args.overwrite,
                args.again,
                args.as_listed,
            ),
            task_of(args),
            None if args.no_ray else cluster,
            readers=args.readers,
            listener=bar,
        )
        bar.close()
        return print_report(report, args.out)
    except KeyboardInterrupt:
        bar.close()
        print('interrupted: the same command goes on from here')
        return 130
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        bar.close()
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
