"""Image-text contrast and the visual dictionary in two processes."""

import pytest
import torch
from mmengine.dist import all_reduce
from torch import distributed, multiprocessing

from fiber_mmdet.models.image_text.heads.pair_queue import gather_rows
from image_text_pairs import build_model, images, model_cfg, samples

pytestmark = pytest.mark.processes
STEPS, EACH = 3, 2
RATE = 1e-2  # the loss is so steep that larger steps amplify rounding
IDS = [0, 1, 0, 2, 3, 1, 4, 5, 5, 6, 0, 7]  # the same images within and across processes
CASES = {
    'gathered': dict(itc=dict(type='ITCHead', queue_size=6, gather=True)),
    'not gathered': dict(
        itc=dict(type='ITCHead', queue_size=6, pixel_queue=3), itm=dict(type='ITMHead')
    ),
    'longer than the queue': dict(itc=dict(type='ITCHead', queue_size=3, gather=True)),
    'dictionary': dict(
        mvm=dict(type='MVMHead', num_words=8, mask_prob=0.0, momentum=0.5, reseed=False)
    ),
}


def train(heads, rank, ranks):
    """Losses of a few steps, and averaged gradients and buffers at the end."""
    model = build_model(model_cfg(heads))
    if rank:  # processes may draw different dictionaries
        for name, buffer in model.named_buffers():
            if name.endswith(('embed', 'embed_avg')):
                buffer.normal_()
    losses = []
    for step in range(STEPS):
        size = EACH * 2 // ranks
        first = step * 2 * EACH + rank * size
        rows = slice(first, first + size)
        inputs = dict(image=images(2 * EACH * STEPS)[rows])
        records = samples(size, first, image_id=IDS[rows])
        model.zero_grad()
        model.train()
        found = model(inputs, records, mode='loss')
        loss = sum(value for name, value in found.items() if 'loss' in name)
        loss.backward()
        losses.append(loss.detach())
        for parameter in model.parameters():
            if parameter.grad is not None:
                all_reduce(parameter.grad, op='mean')
                parameter.data -= RATE * parameter.grad
    losses = torch.stack(losses)
    all_reduce(losses, op='mean')
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if 'heads.' in name}
    if 'itc' in heads and model.heads.itc.queue.images is not None:
        buffers['pixels'] = model.heads.itc.queue.images
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return dict(losses=losses, buffers=buffers, gradients=gradients)


def worker(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    found = {name: train(heads, rank, 2) for name, heads in CASES.items()}
    found['ragged'] = gather_rows(10 * rank + torch.arange(2 * (2 - rank)).view(-1, 2))
    torch.save(found, folder / f'{rank}.pth')
    distributed.destroy_process_group()


@pytest.fixture(scope='module')
def together(tmp_path_factory):
    """Results of each of two processes."""
    folder = tmp_path_factory.mktemp('processes')
    multiprocessing.spawn(worker, (folder,), nprocs=2)
    return [torch.load(folder / f'{rank}.pth') for rank in (0, 1)]


def assert_same(found, expected, parts=('losses', 'buffers', 'gradients')):
    for part in parts:
        torch.testing.assert_close(found[part], expected[part], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['gathered', 'longer than the queue', 'dictionary'])
def test_two_processes_agree_with_one_of_twice_the_batch_size(name, together):
    alone = train(CASES[name], 0, 1)
    for found in together:
        assert_same(found[name], alone)


def test_processes_may_have_different_numbers_of_pairs(together):
    """Images of a batch have different numbers of texts."""
    for found in together:
        assert [part.tolist() for part in found['ragged']] == [[[0, 1], [2, 3]], [[10, 11]]]


def test_queues_agree_without_gathered_batches(together):
    first, second = (found['not gathered']['buffers'] for found in together)
    assert set(first) == {
        *(
            f'heads.itc.queue.{part}'
            for part in ('image', 'text', 'ids', 'mask', 'image_ids', 'counts')
        ),
        'pixels',
    }
    for part, value in first.items():
        assert torch.equal(value, second[part]), part
    assert first['heads.itc.queue.counts'].tolist() == [0, 12]
    assert first['heads.itc.queue.image_ids'].tolist() == IDS[6:]
    # a process compares with its own pairs and the queue: fewer negatives than together
    alone = train(CASES['not gathered'], 0, 1)['losses']
    assert together[0]['not gathered']['losses'][0] < alone[0] - 0.1
