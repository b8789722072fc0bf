"""A training step: losses and gradients, without the optimiser."""

import argparse

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from fiber_mmdet.host import has_bfloat16_products

from ..detector_cases import Detectors, build, images_of, meta_of, sizes_of
from ..measure import Difference, Way, compare
from ..models import names_of_length
from ..runs import Run, start
from . import several_tasks
from .cached_prefixes import compare_cached
from .texts_per_image import compare_texts


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command.

    Raises:
        SystemExit: a stage that is not compared in this way.
    """
    run = start(args)
    if args.texts:
        return run.report(compare_texts(run, samples_of))
    if args.cached:
        if several_tasks.STAGE in args.stage:
            raise SystemExit(f'error: --stage {several_tasks.STAGE} needs --texts, not --cached')
        return run.report(compare_cached(run, samples_of))
    size = sizes_of(run)[0]
    models = build(run, size)
    names = names_of_length(models.ours.tokenizer, args.tokens)
    rows = []
    for batch in args.batch:
        rows += compare(
            ways_of(run, models, size, batch, names),
            run.device,
            args.repeats,
            dict(batch=batch, size='x'.join(map(str, size)), tokens=args.tokens),
            difference,
            run.peak,
            not args.no_flops,
        )
    models.ours.eval()
    return run.report(rows)


def ways_of(
    run: Run, models: Detectors, size: tuple[int, int], batch: int, names: list[str]
) -> list[Way]:
    """The plain step and ours, with and without the options that trade time for memory."""
    images = images_of(run, size, batch)

    def step(loss, checkpointing=False, low=False, frozen=-1):
        def call():
            ours = models.ours
            ours.backbone.with_cp = ours.bbox_head.with_cp = checkpointing
            ours.backbone.frozen_stages = frozen
            ours.train()  # freezes, and thaws what the previous way froze
            ours.zero_grad(set_to_none=True)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=low):
                losses = loss(images, samples_of(batch, size, names, run.args.boxes, run.device))
            total = sum(value for key, value in losses.items() if key.startswith('loss'))
            total.backward()
            found = total.detach(), ours.backbone.image.patch_embed.proj.weight.grad
            ours.backbone.image.requires_grad_(True)
            return found

        return call

    loss = models.ours.loss
    ways = [
        Way('plain', step(models.plain.loss)),
        Way('ours', step(loss)),
        Way('ours, checkpointing', step(loss, checkpointing=True)),
        Way('ours, two stages frozen', step(loss, frozen=2)),
    ]
    if has_bfloat16_products(run.device.type):
        ways += [
            Way('ours, bfloat16', step(loss, low=True)),
            Way('ours, bfloat16, checkpointing', step(loss, checkpointing=True, low=True)),
        ]
    return ways


def samples_of(
    batch: int, size: tuple[int, int], names: list[str], boxes: int, device: torch.device
) -> list[DetDataSample]:
    """Samples of images with boxes of all sizes and random labels."""
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
    """Relative difference of the loss, and of the gradient of the first layer.

    The gradient may differ by 50 times as much, as in the parity checks.
    """
    expected = 'bfloat16' in ours.name
    gap = float((plain.output[0] - ours.output[0]).abs() / plain.output[0].abs())
    what = 'loss'
    if ours.output[1] is not None and not expected:
        scale = plain.output[1].abs().max()
        gap = max(gap, float((plain.output[1] - ours.output[1]).abs().max() / scale) / 50)
        what = 'loss and gradient'
    return Difference(gap, None if expected else 1e-4, what)
