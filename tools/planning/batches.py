"""Made-up batches for a training step: images without values, texts of any length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fiber_mmdet.models import FIBERDetector, FIBERForVL
from fiber_mmdet.models.image_text.heads.caption_cider import CiderLoss
from fiber_mmdet.models.image_text.heads.itc import ITCHead
from fiber_mmdet.models.image_text.heads.itm import ITMHead
from fiber_mmdet.models.image_text.heads.nlvr2 import NLVR2Head
from fiber_mmdet.structures import ImageTextSample, SampleGroup
from fiber_mmdet.text import PromptTokenizer

from .weightless import NeedsValues

BOXES = 10  # of an image
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class BatchShape:
    """What a batch of one process holds.

    Attributes:
        images: number of images (of NLVR2: of pairs of images).
        texts: texts of an image.
        tokens: tokens of a text.
        size: height and width of the images.
    """

    images: int
    texts: int
    tokens: int
    size: tuple[int, int]


@dataclass
class MadeStep:
    """The forward pass of a training step.

    Attributes:
        inputs: the images.
        loss: returns the losses.
    """

    inputs: list[Tensor]
    loss: Callable[[], Losses]


def make_step(
    model: nn.Module,
    shape: BatchShape,
    mode: FakeTensorMode | None,
    tasks: Mapping[str, int] | None = None,
) -> MadeStep:
    """A step of a model on made-up images and texts.

    The queue of a contrast is full, and hard negatives are drawn at random, so most come from it.

    Args:
        model: a detector or an image-text model, with or without values. Its tokenizer is replaced
            by the packaged one, which is no matter for shapes.
        shape: of the batch.
        mode: makes images without values; None for random ones.
        tasks: of a model with several tasks: how many of the texts of an image are of each.

    Raises:
        ValueError: another model, or several tasks without ``tasks``.
    """
    vars(model)['tokenizer'] = PromptTokenizer('fiber_mmdet:mini', max_tokens=shape.tokens)

    def images() -> Tensor:
        if mode is None:
            return torch.randn(shape.images, 3, *shape.size)
        with mode:
            return torch.empty(shape.images, 3, *shape.size)

    texts = [text_of(i, shape.tokens) for i in range(shape.images * shape.texts)]
    if isinstance(model, FIBERDetector):
        pixels = images()
        samples = [_boxes(text, shape.size) for text in texts]
        return MadeStep([pixels], lambda: model.loss(pixels, _groups(samples, shape.texts)))
    if not isinstance(model, FIBERForVL):
        raise ValueError(f'{type(model).__name__} is neither a FIBERDetector nor a FIBERForVL')
    heads = list(model.heads.values())
    if model.tasks is not None and not tasks:
        raise ValueError(
            'model.tasks: the texts of a batch belong to several tasks, and the config has no '
            'TasksOfImages that says how many texts of each an image has. Plan one of them: '
            '--cfg-options model.tasks=None model.heads.NAME=None'
        )
    fields: list[dict[str, Any]] = [dict(image_id=i // shape.texts) for i in range(len(texts))]
    if tasks:
        order = [task for task, count in tasks.items() for _ in range(count)]
        fields = [dict(one, task=order[i % len(order)]) for i, one in enumerate(fields)]
    pairs = [
        ImageTextSample(
            metainfo=dict(
                text=text, answer_labels=[0], answer_scores=[1.0], label=1, tags=[0],
                captions=[text], **one,
            )
        )
        for text, one in zip(texts, fields)
    ]  # fmt: skip
    if any(isinstance(getattr(head, 'objective', None), CiderLoss) for head in heads):
        raise NeedsValues(
            'this training samples captions, whose lengths depend on the weights. Plan the config '
            'that comes before it, and add the time of sampling'
        )
    views = {view: images() for view in views_of(model)}
    for head in heads:
        if isinstance(head, ITCHead):
            _fill_queue(head, shape, mode)
    return MadeStep(
        list(views.values()),
        lambda: model(views, _groups(pairs, shape.texts), mode='loss'),
    )


def text_of(number: int, tokens: int) -> str:
    """A text that has at least so many tokens; numbers make it different from others."""
    return f'{number} ' + 'one ' * tokens


def views_of(model: FIBERForVL) -> list[str]:
    """The images that a sample has."""
    heads = list(model.heads.values())
    views = ['image']
    if any(isinstance(head, NLVR2Head) for head in heads):
        views.append('image_1')
    if any(isinstance(head, ITMHead) and not head.uses_hard_negatives for head in heads):
        views.append('false_image')
    return views


def _groups(samples: list, texts: int) -> list:
    if texts == 1:
        return samples
    return [SampleGroup(samples=samples[i : i + texts]) for i in range(0, len(samples), texts)]


def _boxes(text: str, size: tuple[int, int]) -> DetDataSample:
    """A sample whose boxes all belong to the first word of its text."""
    height, width = size
    extent = torch.tensor([width, height])
    generator = torch.Generator().manual_seed(len(text))
    sides = (0.1 + 0.5 * torch.rand(BOXES, 2, generator=generator)) * extent
    low = torch.rand(BOXES, 2, generator=generator) * (extent - sides)
    spans = [[[0, text.index(' ')]]]
    return DetDataSample(
        metainfo=dict(img_shape=size, text=text, tokens_positive=spans),
        gt_instances=InstanceData(
            bboxes=torch.cat([low, low + sides - 1], 1), labels=torch.zeros(BOXES, dtype=torch.long)
        ),
    )


def _fill_queue(head: ITCHead, shape: BatchShape, mode: FakeTensorMode | None) -> None:
    """A queue as after many steps, and draws from it that need no similarities."""
    queue = head.queue
    queue.counts.copy_(torch.tensor([0, queue.size]))
    queue.mask[:, : shape.tokens] = True
    if queue.pixels:
        queue.held = queue.pixels
        size = (queue.pixels, 3, *shape.size)
        if mode is None:
            queue.images = torch.zeros(size, dtype=queue.pixel_dtype)
        else:
            with mode:
                queue.images = torch.empty(size, dtype=queue.pixel_dtype)

    def pick(scores: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        weights = torch.ones(*scores.shape).fill_diagonal_(0)
        if allowed is not None:
            weights[:, ~allowed] = 0
        valid = weights.any(1)
        weights[~valid, 0] = 1
        return head.draw(weights), valid

    vars(head)['_pick'] = pick
