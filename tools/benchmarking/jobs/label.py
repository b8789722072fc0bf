"""Images per second of a bulk job: the plain loop, and Ray with one worker and more."""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fiber_mmdet.bulk import Cluster, Output, Rules, Source, Task, label
from fiber_mmdet.outputs import write_json
from fiber_scenes import draw, sample_scene

from ..report import cpu_name


class Waiting:
    """A labeller that only waits, so that what remains is what the job itself costs.

    Args:
        seconds: for each image.
    """

    names = ('anything',)
    common = dict(caption='anything', spans=[[[0, 8]]], of_names=True)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def settings(self) -> dict:
        """Nothing that labels depend on."""
        return {}

    def __call__(self, images: list[np.ndarray], texts: list) -> list:
        """Nothing found, after a while."""
        time.sleep(self.seconds * len(images))
        size = ('height', 'width')
        return [[dict(zip(size, image.shape), inclusive=False, detections=[])] for image in images]


class Start:
    """When a job began to work, with the model of this process loaded and the images listed."""

    def began(self, blocks: int, before: int) -> None:
        """It begins."""
        self.time = time.time()

    def finished(self, count) -> None:
        """A part is there; Ray says so later than that, and of several at once."""


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    rows = []
    print(f'\nlabel: {cpu_name()}, {args.images} images of {args.side} pixels a side')
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / 'images').mkdir()
        for number in range(args.images):
            scene = sample_scene('train', number, image_size=args.side)
            Image.fromarray(draw(scene)).save(folder / f'images/{number:06d}.png')
        source = Source(str(folder / 'images'), block_size=args.block)
        task = Task(prompt=['red circle', 'blue star'], rules=Rules(0.3), device='cpu')
        load = None if args.pause is None else partial(Waiting, args.pause)
        for workers in (0, *args.workers):
            begin, out = Start(), folder / f'out-{workers}'
            label(
                source,
                Output(out, 'jsonl'),
                task,
                Cluster(workers) if workers else None,
                load=load,
                listener=begin,
            )
            written = sorted(part.stat().st_mtime for part in out.glob('parts-*/*.jsonl'))
            start = written[0] - begin.time
            # each worker has made its first part then, or nearly so
            first = max(1, workers)
            images = args.images - first * args.block
            rate = images / (written[-1] - written[first - 1])
            rows.append(
                dict(
                    case=dict(workers=workers),
                    way='ours' if workers else 'plain',
                    seconds=1 / rate,
                    images_per_second=rate,
                    first_part_after=start,
                )
            )
            way = f'Ray, {workers} workers' if workers else 'no Ray'
            print(f'{way}: {rate:.1f} images per second, the first part after {start:.1f} s')
        outputs = [(folder / f'out-{n}/detections.jsonl').read_bytes() for n in (0, *args.workers)]
    found = dict(
        job='label',
        settings=dict(images=args.images, side=args.side, block=args.block, pause=args.pause),
        rows=rows,
        curve=args.curve,
        agree=all(output == outputs[0] for output in outputs),
    )
    if args.out:
        write_json(args.out, found, indent=1)
    return found
