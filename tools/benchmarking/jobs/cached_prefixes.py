"""A training step with a frozen image tower: from images, and from cached prefixes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fiber_mmdet.models.cached_prefixes import made_with
from fiber_mmdet.structures import ImageTextSample, SamplePrefix

from .. import detector_cases, image_text_cases
from ..measure import Difference, Way, compare
from ..models import names_of_length, sentences
from ..runs import Run
from .texts_per_image import HEADS

HALF = 'cached prefixes, float16'


def compare_cached(run: Run, samples_of: Callable) -> list[dict]:
    """Rows for each stage, batch and trained part.

    Prefixes are in memory: reading them is as reading any file of their size.

    Args:
        run: of `train-step`.
        samples_of: makes samples of a detector.
    """
    rows: list[dict] = []
    args = run.args
    for stage in args.stage:
        if stage == 'detector':
            model, batch_of, loss, head = _detector(run, samples_of)
        else:
            model, batch_of, loss, head = _image_text(run, HEADS[stage])
        for batch in args.batch:
            images, samples = batch_of(batch)
            for trained in ('all after the prefix', 'head'):
                _freeze(model, head if trained == 'head' else '')
                ways = [
                    Way(name, _step(model, loss, images, samples, dtype))
                    for name, dtype in (
                        ('images', None),
                        ('cached prefixes', torch.float32),
                        (HALF, torch.float16),
                    )
                ]
                case = dict(stage=stage, images=batch, trained=trained)
                rows += compare(
                    ways, run.device, args.repeats, case, difference, run.peak, not args.no_flops
                )
    return rows


def _freeze(model: nn.Module, trained: str) -> None:
    """Train what comes after the image prefix, or the parameters of one part of it."""
    model.backbone.frozen_stages, model.backbone.frozen_prefix = -1, True
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    model.train()
    for part in model.modules():  # two runs could not agree with it
        if isinstance(part, nn.Dropout) or hasattr(part, 'drop_prob'):
            part.eval()


def _step(
    model: nn.Module, loss: Callable, images: Tensor, samples: Sequence, dtype: torch.dtype | None
) -> Callable:
    """A forward and a backward pass, with the same random draws each time."""
    prefixes: list[SamplePrefix] = []
    if dtype is not None:
        with torch.no_grad():
            parts = model.backbone.encode_image(images).parts()
        known = dict(made_with(model), source='random')
        prefixes = [
            SamplePrefix(
                dict(image={name: part[i].to(dtype) for name, part in parts.items()}), '-', known
            )
            for i in range(len(images))
        ]

    def call() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        model.zero_grad(set_to_none=True)
        for i, sample in enumerate(samples):
            sample.pop('image_prefix', None)
            if prefixes:
                sample.image_prefix = prefixes[i]
        losses = loss(images, samples)
        total = sum(value for key, value in losses.items() if key.startswith('loss'))
        total.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return total.detach(), torch.cat(gradients)

    return call


def _detector(run: Run, samples_of: Callable) -> tuple[nn.Module, Callable, Callable, str]:
    size = detector_cases.sizes_of(run)[0]
    model = detector_cases.build(run, size).ours
    names = names_of_length(model.tokenizer, run.args.tokens)

    def batch_of(batch: int) -> tuple[Tensor, list]:
        samples = samples_of(batch, size, names, run.args.boxes, run.device)
        return detector_cases.images_of(run, size, batch), samples

    return model, batch_of, model.loss, 'bbox_head'


def _image_text(run: Run, heads: dict) -> tuple[nn.Module, Callable, Callable, str]:
    model = image_text_cases.build(run, heads).ours

    def batch_of(batch: int) -> tuple[Tensor, list]:
        samples = [
            ImageTextSample(
                metainfo=dict(text=text, image_id=i, answer_labels=[i], answer_scores=[1.0])
            )
            for i, text in enumerate(sentences(batch))
        ]
        return image_text_cases.images_of(run, batch), samples

    def loss(images: Tensor, samples: list) -> dict:
        return model(dict(image=images), samples, mode='loss')

    return model, batch_of, loss, 'heads'


def difference(plain: Way, ours: Way) -> Difference:
    """Relative difference of the loss, and a 50th of that of all gradients."""
    gap = float((plain.output[0] - ours.output[0]).abs() / plain.output[0].abs())
    scale = plain.output[1].abs().max()
    gap = max(gap, float((plain.output[1] - ours.output[1]).abs().max() / scale) / 50)
    return Difference(gap, None if ours.name == HALF else 1e-4, 'loss and gradient')
