"""A training step with several tasks: a batch for each task against one batch of all."""

from collections.abc import Callable

import torch

from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.models.image_text.tasks import TaskTable
from fiber_mmdet.structures import ImageTextSample, SampleGroup

from .. import image_text_cases
from ..measure import Way
from ..models import sentences

STAGE = 'tasks'
HEADS = dict(
    mlm=dict(type='MLMHead'),
    itc=dict(type='ITCHead', queue_size=0),
    itm=dict(type='ITMHead'),
    caption=dict(type='CaptionHead'),
    vqa=dict(type='VQAHead'),
)
OF_TASK = dict(caption=('mlm', 'itc', 'itm', 'caption'), question=('vqa',))


def ways_of(run, model: FIBERForVL, batch: int, texts: int) -> list[Way]:
    """Steps on as many images with as many captions and questions each.

    A batch for each task already shares its images among its texts, and among its heads.

    Args:
        run: of `train-step`.
        model: with ``HEADS``, in training mode; its tasks are set here.
        batch: images.
        texts: of each image and task.
    """
    model.tasks = TaskTable(OF_TASK, dict(model.heads.items()))
    images = image_text_cases.images_of(run, batch)
    of_task = {task: _samples(task, batch, texts) for task in OF_TASK}
    separate = [[SampleGroup(samples=own) for own in of_task[task]] for task in OF_TASK]
    joined = [[SampleGroup(samples=sum(own, [])) for own in zip(*of_task.values())]]

    def step(batches: list, matched: int | None = None) -> Callable:
        def call():
            torch.manual_seed(0)
            model.heads.itm.texts_per_image = matched
            model.zero_grad(set_to_none=True)
            total = torch.zeros((), device=run.device)
            for samples in batches:
                losses = model(dict(image=images), samples, mode='loss')
                own = sum(value for key, value in losses.items() if key.startswith('loss'))
                own.backward()
                total += own.detach()
            return total, model.backbone.image.patch_embed.proj.weight.grad.clone()

        return call

    ways = [Way('a batch for each task', step(separate)), Way('one batch of all', step(joined))]
    if texts > 1:
        ways.append(Way('one batch of all, one caption matched', step(joined, 1)))
    return ways


def _samples(task: str, batch: int, texts: int) -> list[list]:
    """Samples of a task for each image."""
    fields = dict(task=task, answer_labels=[0], answer_scores=[1.0])
    found = [
        ImageTextSample(metainfo=dict(fields, text=text, image_id=i // texts))
        for i, text in enumerate(sentences(batch * texts))
    ]
    return [found[i : i + texts] for i in range(0, len(found), texts)]
