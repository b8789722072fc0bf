"""A training step of a detector: losses, gradients, no optimiser."""

import argparse

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from fiber_mmdet.host import has_bfloat16_products

from ..detector_cases import build, images_of, meta_of, sizes_of
from ..measure import Difference, Way, compare
from ..models import names_of_length
from ..options import add_common, add_curve, add_sizes, start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train-step`."""
    add_common(parser)
    add_sizes(parser)
    parser.add_argument('--batch', type=int, nargs='+', default=[1], help='photos in a step')
    parser.add_argument('--tokens', type=int, default=195, help='length of the prompt')
    parser.add_argument('--boxes', type=int, default=8, help='in each photo')
    add_curve(parser, 'batch')


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    run = start(args)
    size = sizes_of(run)[0]
    models = build(run, size)
    names = names_of_length(models.ours.tokenizer, args.tokens)
    rows = []
    for batch in args.batch:
        images = images_of(run, size, batch)

        def step(loss, checkpointing=False, low=False, frozen=-1):
            def call():
                ours = models.ours
                ours.backbone.with_cp = ours.bbox_head.with_cp = checkpointing
                ours.backbone.frozen_stages = frozen
                ours.train()  # freezes, and thaws what the way before has frozen
                ours.zero_grad(set_to_none=True)
                with torch.autocast(run.device.type, torch.bfloat16, enabled=low):
                    losses = loss(images, samples_of(batch, size, names, args.boxes, run.device))
                total = sum(value for key, value in losses.items() if key.startswith('loss'))
                total.backward()
                found = total.detach(), ours.backbone.image.patch_embed.proj.weight.grad
                ours.backbone.image.requires_grad_(True)
                return found

            return call

        ways = [
            Way('plain', step(models.plain.loss)),
            Way('ours', step(models.ours.loss)),
            Way('ours, checkpointing', step(models.ours.loss, checkpointing=True)),
            Way('ours, two stages frozen', step(models.ours.loss, frozen=2)),
        ]
        if run.device.type != 'cpu' or has_bfloat16_products():
            ways += [
                Way('ours, bfloat16', step(models.ours.loss, low=True)),
                Way(
                    'ours, bfloat16, checkpointing',
                    step(models.ours.loss, checkpointing=True, low=True),
                ),
            ]
        rows += compare(
            ways,
            run.device,
            args.repeats,
            dict(batch=batch, size='x'.join(map(str, size)), tokens=args.tokens),
            difference,
            run.peak,
            not args.no_flops,
        )
    models.ours.eval()
    return run.report(rows)


def samples_of(
    batch: int, size: tuple[int, int], names: list[str], boxes: int, device: torch.device
) -> list[DetDataSample]:
    """Photos with boxes of all sizes, each of some category."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    extent = torch.tensor([width, height])
    samples = []
    for _ in range(batch):
        sides = (0.1 + 0.5 * torch.rand(boxes, 2, generator=generator)) * extent
        low = torch.rand(boxes, 2, generator=generator) * (extent - sides)
        labels = torch.randint(len(names), (boxes,), generator=generator)
        samples.append(
            DetDataSample(
                metainfo=dict(meta_of(size), text=list(names)),
                gt_instances=InstanceData(
                    bboxes=torch.cat([low, low + sides - 1], 1).to(device), labels=labels.to(device)
                ),
            )
        )
    return samples


def difference(plain: Way, ours: Way) -> Difference:
    """Of the loss, and of a gradient at the far end of the network, relative.

    The gradient may differ by 50 times as much, as where parity is checked.
    """
    expected = 'bfloat16' in ours.name
    gap = float((plain.output[0] - ours.output[0]).abs() / plain.output[0].abs())
    what = 'loss'
    if ours.output[1] is not None and not expected:
        scale = plain.output[1].abs().max()
        gap = max(gap, float((plain.output[1] - ours.output[1]).abs().max() / scale) / 50)
        what = 'loss and gradient'
    return Difference(gap, None if expected else 1e-4, what)
