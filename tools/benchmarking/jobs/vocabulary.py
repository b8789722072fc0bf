"""A large vocabulary on one image, in chunks of names."""

import argparse

import torch
from torch import Tensor

from fiber_mmdet.text import prompt_passes

from ..agreement import detections
from ..detector_cases import Detectors, build, images_of, meta_of, sizes_of
from ..measure import Difference, Way, compare
from ..models import vocabulary
from ..runs import Run, sampled, start


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    size = sizes_of(run)[0]
    models = build(run, size)
    images = images_of(run, size)
    rows = [row for classes in args.classes for row in one_case(run, models, images, classes)]
    return run.report(rows)


def one_case(run: Run, models: Detectors, images: Tensor, classes: int) -> list[dict]:
    """Rows of one vocabulary size."""
    args, size = run.args, tuple(images.shape[-2:])
    meta, chunk = meta_of(size), args.chunk or (20 if args.model == 'mini' else 40)
    passes = prompt_passes(vocabulary(classes), chunked_size=chunk)
    count = sampled(args.plain_chunks, len(passes))
    labels = sum(len(prompt.phrases) for prompt in passes[:count])

    @torch.no_grad()
    def ours():
        image = models.ours.backbone.encode_image(images)
        return models.ours.ground(image, models.ours.encode_prompts([passes]), [meta])[0]

    def difference(a: Way, b: Way) -> Difference:
        shared = b.output[b.output.labels < labels]
        return detections([a.output], [shared])

    ways = [
        Way(
            'plain',
            lambda: models.plain.vocabulary(images, passes[:count], meta),
            share=count / len(passes),
        ),
        Way('ours, first photo', ours, before=models.ours.eval),
        Way('ours, next photo', ours),  # with the text prefixes cached
    ]
    case = dict(classes=classes, chunks=len(passes), size='x'.join(map(str, size)))
    return compare(ways, run.device, args.repeats, case, difference, run.peak, not args.no_flops)
