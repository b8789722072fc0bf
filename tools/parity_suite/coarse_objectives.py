"""Losses and predictions of the image-text objectives, from the heads that train them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn

from fiber_mmdet.checkpoints import resize_bias_table
from fiber_mmdet.checkpoints.names import COARSE_IMAGE
from fiber_mmdet.models.backbone import ImagePrefix
from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.batch import HardNegatives
from fiber_mmdet.models.image_text.heads.pair_queue import PairQueue

from .coarse_inputs import CoarseInputs

QUEUE = re.compile(r'itc_(empty|q\d+)(_total(\d+))?/')
HARD = 'itc_q6'  # the state of the queue that chooses the negatives of itm_hardneg
TABLE = re.compile(r'posbias/(\d+)_to_(\d+)')


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Outputs of a module within the context, in the order of its calls."""
    seen = []
    hook = module.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        yield seen
    finally:
        hook.remove()


# ---------------------------------------------------------- classifiers
def mlm(inputs: CoarseInputs, model: nn.Module, batch: EncodedBatch) -> dict[str, Tensor]:
    """Logits of all tokens of the masked texts, and the loss of the chosen ones."""
    head = model.heads.mlm
    ids, labels = inputs.masked
    text = model.backbone.encode_text(ids, batch.tokens[1])
    logits = model.words(model.fuse(batch.image(), text).text)
    with mock.patch.object(head, 'mask_tokens', lambda batch: (ids, labels)):
        return {'mlm/logits': logits, 'mlm/loss': head.loss(batch)['loss']}


def vqa(inputs: CoarseInputs, model: nn.Module) -> dict[str, Tensor]:
    """Logits and loss of the answers in ``meta.vqa``."""
    answers, head = inputs.fixture.meta['vqa'], model.heads.vqa
    batch = inputs.pairs(model, answer_labels=answers['labels'], answer_scores=answers['scores'])
    with output_of(head.classifier) as logits:
        loss = head.loss(batch)['loss']
    return {'vqa/logits': logits[0], 'vqa/loss': loss}


def nlvr2(inputs: CoarseInputs, model: nn.Module) -> dict[str, Tensor]:
    """Logits and loss of the labels in ``meta.nlvr2``."""
    head = model.heads.nlvr2
    batch = inputs.pairs(model, label=inputs.fixture.meta['nlvr2']['answers'])
    with output_of(head.classifier) as logits:
        loss = head.loss(batch)['loss']
    return {'nlvr2/logits': logits[0], 'nlvr2/loss': loss}


# ------------------------------------------------------------- contrast
def noisy_queue(inputs: CoarseInputs, model: nn.Module) -> PairQueue:
    """The model's queue as the reference initialises it, with the fixture's noise."""
    queue = model.heads.itc.queue
    for name in ('image', 'text'):
        noise = inputs.tensor(f'{name}_queue', (queue.image.shape[1], queue.size))
        getattr(queue, name).copy_(noise.T)
    queue.counts.zero_()
    queue.ids.fill_(queue.pad_id)
    queue.mask.zero_()
    return queue


def push(queue: PairQueue, inputs: CoarseInputs, order: Tensor) -> None:
    """Write the fixture's queued pairs to the queue, in an order (N,)."""
    image, text = inputs.features(queue.image.shape[1])
    rows = [x[order] for x in (image, text, inputs.queued['ids'], inputs.queued['mask'])]
    queue.push(
        *rows,
        torch.full((len(order),), -1),
        inputs.queued['images'][order],
        torch.zeros(3, 1, 1),
        torch.ones(3, 1, 1),
    )


def queue_size(inputs: CoarseInputs) -> int:
    """Size of the fixture's queue: columns of its wrap-around, or as ``meta.queue`` says."""
    if 'queue_wrap/image_queue_row0' in inputs.fixture:
        return len(inputs.fixture['queue_wrap/image_queue_row0'])
    found = re.search(r'queue size (\d+)', inputs.fixture.meta.get('queue', ''))
    return int(found[1]) if found else 0


def contrast(
    inputs: CoarseInputs, model: nn.Module, batch: EncodedBatch, case: str
) -> dict[str, Tensor]:
    """Loss and chosen negatives with a queue in one state.

    The most likely negative is chosen instead of a random one; the choice remains in
    ``batch.hard_negatives``.

    Args:
        inputs: the inputs.
        model: the model.
        batch: the pairs.
        case: ``itc_empty``, ``itc_q6`` (six pairs) or ``itc_q6_total40`` (as if 40
            pairs had been written).
    """
    head, found = model.heads.itc, QUEUE.match(f'{case}/')
    queue = noisy_queue(inputs, model)
    if found[1] != 'empty':
        push(queue, inputs, torch.arange(int(found[1][1:])))
    if found[3]:
        queue.mask[queue.filled :, 0] = True  # rows without a text would be chosen and encoded
        queue.counts[1] = int(found[3])
    chosen = []

    def most_likely(weights: Tensor) -> Tensor:
        chosen.append(weights.argmax(1))
        return chosen[-1]

    with mock.patch.object(head, 'draw', most_likely):
        loss = head.loss(batch)['loss']
    texts, images = chosen
    return {
        f'{case}/loss': loss,
        f'{case}/neg_index_i2t_text': texts,
        f'{case}/neg_index_t2i_image': images,
    }


def wrapped_queue(inputs: CoarseInputs, model: nn.Module) -> dict[str, Tensor]:
    """The queue after the fixture's pairs twice, and then in reverse order."""
    queue = noisy_queue(inputs, model)
    order = torch.arange(len(inputs.queued['ids']))
    for rows in (order, order, order.flip(0)):
        push(queue, inputs, rows)
    found = dict(
        ptr_total=queue.counts,
        image_queue_row0=queue.image[:, 0],
        text_queue_row0=queue.text[:, 0],
        text_input_queue_col1=queue.ids[:, 1],
        image_input_queue_mean=queue.images.mean((1, 2, 3)),
    )
    return {f'queue_wrap/{name}': value.clone() for name, value in found.items()}


# ------------------------------------------------------------- matching
def hard_matching(model: nn.Module, batch: EncodedBatch, case: str) -> dict[str, Tensor]:
    """Loss, logits and labels with the batch's hard negatives."""
    head = model.heads.itm
    with output_of(head.fc) as logits:
        loss = head.loss(batch)['loss']
    labels = head.hard_pairs(batch)[2]
    return {f'{case}/loss': loss, f'{case}/logits': logits[0], f'{case}/labels': labels}


def fixed_negatives(batch: EncodedBatch) -> HardNegatives:
    """The false images, and the texts of the next pairs."""
    rows, valid = torch.arange(len(batch)), torch.ones(len(batch), dtype=torch.bool)
    images = ImagePrefix.cat([batch.image(), batch.image('false_image')])
    return HardNegatives(images, rows + len(batch), valid, batch.text, rows.roll(1), valid)


def plain_matching(
    inputs: CoarseInputs, model: nn.Module, batch: EncodedBatch
) -> dict[str, Tensor]:
    """Loss, logits and labels with some images replaced, as the fixture says."""
    head = model.heads.itm
    kept = torch.from_numpy(inputs.fixture['itm_plain/labels']).nonzero()[:, 0]
    with (
        output_of(head.fc) as logits,
        mock.patch.object(head, 'uses_hard_negatives', False),
        mock.patch.object(head, 'draw_matches', lambda n: kept),
    ):
        loss = head.loss(batch)['loss']
        labels = head.view_pairs(batch)[2]
    return {'itm_plain/loss': loss, 'itm_plain/logits': logits[0], 'itm_plain/labels': labels}


# ---------------------------------------------------------- bias tables
def resized_tables(inputs: CoarseInputs, names: list[str]) -> dict[str, Tensor]:
    """Bias tables resized from one image size to another, ``posbias/384_to_576``.

    Args:
        inputs: the inputs.
        names: names of arrays, of which others are ignored.
    """
    key = f'{COARSE_IMAGE}layers.2.blocks.0.attn.relative_position_bias_table'
    found = {}
    for match in filter(None, map(TABLE.fullmatch, names)):
        name, (old, new) = match[0], ((2 * (int(size) // 32) - 1) ** 2 for size in match.groups())
        table = inputs.tensor(key, (old, inputs.fixture.layout(name)[0][1]))
        found[name] = resize_bias_table(table, new)
    return found
