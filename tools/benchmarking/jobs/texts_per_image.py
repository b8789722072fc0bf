"""A training step with several texts of each image: separate pairs against a shared prefix."""

from collections.abc import Callable

import torch
from torch import Tensor

from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.structures import ImageTextSample, SampleGroup

from .. import detector_cases, image_text_cases
from ..measure import Difference, Way, compare
from ..models import names_of_length, sentences
from ..runs import Run
from . import several_tasks

HEADS = {
    'pre-training': dict(
        mlm=dict(type='MLMHead'),
        itc=dict(type='ITCHead', queue_size=0),
        itm=dict(type='ITMHead'),
    ),
    'questions': dict(vqa=dict(type='VQAHead')),
}


def compare_texts(run: Run, samples_of: Callable) -> list[dict]:
    """Rows for each stage, batch and number of texts.

    The opponent of shared images is our own training with a sample for each text.

    Args:
        run: of `train-step`.
        samples_of: makes samples of a detector.
    """
    rows: list[dict] = []
    for stage in run.args.stage:
        if stage == several_tasks.STAGE:
            rows += _compare_tasks(run)
            continue
        if stage == 'detector':
            step_of, first = _detector(run, samples_of)
        else:
            step_of, first = _image_text(run, HEADS[stage])
        for batch in run.args.batch:
            for texts in run.args.texts:
                images, samples = step_of(batch, texts)
                of_image = [samples[i : i + texts] for i in range(0, len(samples), texts)]
                groups = [SampleGroup(samples=group) for group in of_image]
                ways = [
                    Way('separate pairs', first(images.repeat_interleave(texts, 0), samples)),
                    Way('shared images', first(images, groups)),
                ]
                case = dict(stage=stage, images=batch, texts=texts)
                args = run.args
                rows += compare(
                    ways, run.device, args.repeats, case, difference, run.peak, not args.no_flops
                )
    return rows


def _compare_tasks(run: Run) -> list[dict]:
    """Rows for each batch and number of texts of a training with several tasks."""
    model, rows = _whole_model(run, several_tasks.HEADS), []
    for batch in run.args.batch:
        for texts in run.args.texts:
            ways = several_tasks.ways_of(run, model, batch, texts)
            case = dict(stage=several_tasks.STAGE, images=batch, texts=texts)
            args = run.args
            rows += compare(
                ways, run.device, args.repeats, case, difference, run.peak, not args.no_flops
            )
    return rows


def _step(model: torch.nn.Module, loss: Callable) -> Callable:
    """A forward and a backward pass of some samples, with the same random draws each time."""

    def first(images: Tensor, samples: list) -> Callable:
        def call() -> tuple[Tensor, Tensor]:
            torch.manual_seed(0)
            model.zero_grad(set_to_none=True)
            losses = loss(images, samples)
            total = sum(value for key, value in losses.items() if key.startswith('loss'))
            total.backward()
            return total.detach(), model.backbone.image.patch_embed.proj.weight.grad.clone()

        return call

    return first


def _thaw(model: torch.nn.Module) -> None:
    """Train all of a model."""
    model.backbone.frozen_stages = -1
    model.train()
    model.requires_grad_(True)


def _detector(run: Run, samples_of: Callable) -> tuple[Callable, Callable]:
    size = detector_cases.sizes_of(run)[0]
    model = detector_cases.build(run, size).ours
    _thaw(model)
    names = names_of_length(model.tokenizer, run.args.tokens)

    def step_of(batch: int, texts: int) -> tuple[Tensor, list]:
        samples = samples_of(batch * texts, size, names, run.args.boxes, run.device)
        for i, sample in enumerate(samples):  # the same names in another order
            start = i % len(names)
            sample.set_metainfo(dict(text=[*names[start:], *names[:start]]))
        return detector_cases.images_of(run, size, batch), samples

    return step_of, _step(model, model.loss)


def _whole_model(run: Run, heads: dict) -> FIBERForVL:
    """An image-text model that trains all of its parts, without dropout and drop path."""
    model = image_text_cases.build(run, heads).ours
    _thaw(model)
    for part in model.modules():  # two runs could not agree with it
        if isinstance(part, torch.nn.Dropout) or hasattr(part, 'drop_prob'):
            part.eval()
    return model


def _image_text(run: Run, heads: dict) -> tuple[Callable, Callable]:
    model = _whole_model(run, heads)

    def step_of(batch: int, texts: int) -> tuple[Tensor, list]:
        samples = [
            ImageTextSample(
                metainfo=dict(text=text, image_id=i // texts, answer_labels=[0], answer_scores=[1])
            )
            for i, text in enumerate(sentences(batch * texts))
        ]
        return image_text_cases.images_of(run, batch), samples

    def loss(images: Tensor, samples: list) -> dict:
        return model(dict(image=images), samples, mode='loss')

    return step_of, _step(model, loss)


def difference(plain: Way, ours: Way) -> Difference:
    """Relative difference of the loss, and a 50th of that of the gradient of the first layer."""
    gap = float((plain.output[0] - ours.output[0]).abs() / plain.output[0].abs())
    scale = plain.output[1].abs().max()
    gap = max(gap, float((plain.output[1] - ours.output[1]).abs().max() / scale) / 50)
    fewer = 'matched' in ours.name  # pairs in the loss
    return Difference(gap, None if fewer else 1e-4, 'loss and gradient')
