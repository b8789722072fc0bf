#!/usr/bin/env python3
"""Turn images with captions into shards, tar files that are read as a stream:

    python tools/make_shards.py \\
        configs/image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py data/shards/
    python tools/make_shards.py data/sbu/annot.json data/shards/sbu --images data/sbu
    python tools/make_shards.py data/coco/dataset_coco.json data/shards/coco --images data/coco \\
        --splits train restval --samples 5000 --shuffle 0

SOURCE is a config, whose training images are taken, or a file of captions: a json list of [path,
caption], a tsv file, or Karpathy's json. Each image is one sample of a shard with all its captions:
the image file as it is, a txt file with the first caption, a json file with all (`captions`) and
the `image_id`. `WebImageTextDataset(shards='*.tar', data_root=OUT, caption_field='captions')` reads
them. OUT/index.json says how many samples each has.

An interrupted run goes on after the last whole shard. Images that cannot be read are left out and
listed; the exit code is then 1.
"""

import argparse
import shutil
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('source', metavar='SOURCE', help='a config, or a file of captions')
    parser.add_argument('out', type=path_argument, metavar='OUT', help='folder of the shards')
    parser.add_argument(
        '--samples', type=int, default=10000, metavar='N', help='most images of a shard'
    )
    parser.add_argument(
        '--megabytes', type=int, default=1000, metavar='MB', help='images after which a shard ends'
    )
    parser.add_argument(
        '--part',
        type=int,
        metavar='N',
        help="only dataset N, from 0, of a config's list of training datasets",
    )
    parser.add_argument(
        '--shuffle',
        type=int,
        metavar='SEED',
        help='write the images in a random order (default: that of the files)',
    )
    parser.add_argument(
        '--images', type=path_argument, help='folder of the images of a file of captions'
    )
    parser.add_argument(
        '--image-template',
        metavar='TEMPLATE',
        help="path of an image of a file of captions below it, such as '{filename}'",
    )
    parser.add_argument(
        '--splits', nargs='+', default=['train'], help="which splits of Karpathy's json"
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='remove shards that were made with other settings'
    )
    from mmengine.config import DictAction

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    args = parser.parse_args()
    for name in ('samples', 'megabytes'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    if args.shuffle is not None and args.shuffle < 0:
        parser.error('--shuffle must be a number from 0 on')
    return args


def dataset_config(args: argparse.Namespace) -> tuple[dict, list[Path]]:
    """Config of the dataset, and the files that it reads.

    Raises:
        ValueError: the config has no training data, or options that do not belong to a config.
    """
    from mmengine.config import Config

    from fiber_mmdet.datasets.dataset_tree import files_of
    from fiber_mmdet.inspection.data_sources import merge_options
    from fiber_mmdet.records import read_json
    from fiber_mmdet.weights.configs import config_file

    source = Path(args.source)
    if source.suffix not in ('.json', '.tsv'):
        if args.images or args.image_template:
            raise ValueError(f'{source} is a config, which says itself where its images are')
        cfg = Config.fromfile(config_file(args.source))
        merge_options(cfg, args.cfg_options)
        if not cfg.get('train_dataloader'):
            raise ValueError(f'{source} has no train_dataloader')
        dataset = cfg.train_dataloader.dataset
        if args.part is not None:
            parts = dataset.get('datasets')
            if not isinstance(parts, list) or not 0 <= args.part < len(parts):
                count = len(parts) if isinstance(parts, list) else 0
                raise ValueError(f'--part {args.part}: {source} has a list of {count} datasets')
            dataset = parts[args.part]
        return dataset.to_dict(), [*files_of(dict(train_dataloader=dict(dataset=dataset)))]
    if args.part is not None:
        raise ValueError(f'{source} is no config: leave --part out')
    if args.cfg_options:
        raise ValueError(f'{source} is no config: leave --cfg-options out')
    found: dict = dict(
        type='WebCaptionDataset',
        ann_file=str(source),
        data_prefix=dict(img=str(args.images or source.parent)),
    )
    if source.suffix == '.json':
        content = read_json(str(source), (list, dict), "a list of [path, caption], or Karpathy's")
        if isinstance(content, dict):
            found.update(type='KarpathyCaptionDataset', splits=args.splits)
    if args.image_template:
        found['image_template'] = args.image_template
    return found, [source]


def main() -> int:
    """The exit code: 1 if images are left out, or there is an error; 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            from mmdet.registry import DATASETS
            from mmengine.registry import init_default_scope
            from tqdm import tqdm

            import fiber_mmdet  # noqa: F401
            from fiber_mmdet.datasets.shards.names import INDEX
            from fiber_mmdet.datasets.shards.writing import (
                JOURNAL,
                CaptionedImages,
                ShardFolder,
                left_out,
                make_shards,
            )
            from fiber_mmdet.outputs import refuse_inputs

            init_default_scope('mmdet')
            cfg, files = dataset_config(args)
            refuse_inputs([args.out / INDEX, args.out / JOURNAL], files)
            images = CaptionedImages(DATASETS.build(cfg), args.shuffle)
        settings = dict(
            dataset=repr(cfg),
            files=[[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in sorted(set(files))],
            **{key: getattr(args, key) for key in ('samples', 'megabytes', 'shuffle')},
        )
        folder = ShardFolder(args.out, settings, args.overwrite)
        if folder.complete:
            print(f'{args.out} is complete already')
        else:
            if folder.done:
                print(f'{len(folder.made)} shards are there, of {folder.done} images: going on')
            with tqdm(total=len(images), initial=folder.done, unit=' images') as bar:
                for shard in make_shards(images, folder, args.samples, args.megabytes * 2**20):
                    bar.update(shard.images)
        shards = [shard for shard in folder.made if shard.url]
        count = sum(shard.nsamples for shard in shards)
        size = sum(shard.filesize for shard in shards)
        print(f'{count} images in {len(shards)} shards, {size / 2**20:.1f} MB, in {args.out}/')
        lost = left_out(folder.made)
        width = shutil.get_terminal_size().columns
        for path, reason in lost:
            print(f'left out: {path if path in reason else f"{path}: "}{reason}'[: 4 * width])
        if lost:
            print(f'{len(lost)} of {len(images)} images are left out')
        return int(bool(lost))
    except KeyboardInterrupt:
        print(f'interrupted: whole shards stay in {args.out}, and the same command goes on')
        return 130
    except (ImportError, OSError, ValueError, TypeError, KeyError) as error:
        return fail(error)


if __name__ == '__main__':
    run_tool(main)
