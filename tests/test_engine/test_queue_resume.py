"""The queue of contrast: resumed with the training, not touched by averages of the weights."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from fiber_mmdet.engine import ContrastQueueHook
from fiber_mmdet.models.image_text.heads.pair_queue import PairQueue
from image_text_pairs import build_model, model_cfg, samples
from toy_runs import Score, run

LOADER = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_size=3,
    collate_fn=dict(type='pseudo_collate'),
)
HOOKS = [dict(type='ContrastQueueHook'), dict(type='SeedEveryIterHook')]
HEADS = dict(
    mlm=dict(type='MLMHead', mask_prob=0.5),
    itc=dict(type='ITCHead', queue_size=8),
    itm=dict(type='ITMHead'),
    mvm=dict(type='MVMHead', num_words=8, momentum=0.6, mask_prob=0.7),
)


class Pairs(Dataset):
    """Images of noise with texts, as after the pipeline."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(256, (3, 64, 64), generator=generator, dtype=torch.uint8)
        return dict(inputs=dict(image=image), data_samples=samples(1, index)[0])


class Features(Score):
    """A score that depends on the weights."""

    def process(self, data_batch, data_samples):
        self.results += [float(sample['image_feature'].sum()) for sample in data_samples]


VALIDATION = dict(
    val_dataloader=dict(
        batch_size=3,
        num_workers=0,
        dataset=Pairs(),
        collate_fn=dict(type='pseudo_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
    ),
    val_cfg=dict(),
    val_evaluator=dict(type=Features),
)


def train(folder, heads=HEADS, hooks=HOOKS, iters=6, **more):
    """Losses by iteration, and the model at the end."""
    cfg = model_cfg(heads)
    cfg.backbone.text.dropout = 0.1
    cfg.backbone.image.drop_path = 0.2
    loader = dict(LOADER, dataset=Pairs())
    loop = dict(max_iters=iters, val_interval=2)
    recorder, runner = run(
        folder, hooks, loop, loader, model=build_model(cfg), lr=1e-3, **{'validate': False, **more}
    )
    return recorder.losses, runner.model


def without(hooks, name):
    return [hook for hook in hooks if hook['type'] != name]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder, losses and model of an uninterrupted training; the queue wraps around twice."""
    folder = tmp_path_factory.mktemp('whole')
    return folder, *train(folder)


@pytest.mark.parametrize('done', [2, 4])
def test_resumed_training_agrees_with_the_uninterrupted_one(whole, done, tmp_path):
    folder, expected, model = whole
    losses, again = train(tmp_path, resume=folder / f'iter_{done}.pth')
    assert list(losses) == list(range(done, 6))
    for i, loss in losses.items():
        assert loss == pytest.approx(expected[i], rel=1e-6), i
    for name, value in model.heads.itc.queue.dump().items():
        assert torch.equal(again.heads.itc.queue.dump()[name], value), name
    assert again.heads.itc.queue.total == 18
    dictionary = model.heads.mvm.dictionary.state_dict()
    assert dictionary['updates'] == 6
    for name, value in dictionary.items():
        torch.testing.assert_close(again.heads.mvm.dictionary.state_dict()[name], value)


def test_without_the_hook_the_queue_starts_empty(whole, tmp_path):
    folder, expected, _ = whole
    losses, model = train(
        tmp_path, hooks=without(HOOKS, 'ContrastQueueHook'), resume=folder / 'iter_4.pth'
    )
    assert model.heads.itc.queue.total == 6
    assert abs(losses[4] - expected[4]) > 1e-3


def test_another_training_starts_with_an_empty_queue(whole, tmp_path):
    _, model = train(tmp_path, iters=1, start=whole[0] / 'iter_4.pth')
    assert model.heads.itc.queue.total == 3


def test_checkpoint_holds_only_tensors_beside_the_weights(whole):
    checkpoint = torch.load(whole[0] / 'iter_4.pth', weights_only=False)
    assert set(checkpoint['contrast_queue']) == {'heads.itc.queue'}
    state = checkpoint['contrast_queue']['heads.itc.queue']
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert state['counts'].tolist() == [4, 12]
    assert not any('queue' in name for name in checkpoint['state_dict'])


def test_checkpoint_without_a_queue():
    model, warnings = build_model(model_cfg(HEADS)), []
    logger = SimpleNamespace(warning=warnings.append)
    runner = SimpleNamespace(model=model, _resume=True, logger=logger)
    hook = ContrastQueueHook()
    hook.after_load_checkpoint(runner, dict(state_dict={}))
    hook.before_train(runner)
    assert "the checkpoint has no queue for 'heads.itc.queue', which starts empty" in warnings[0]
    assert model.heads.itc.queue.total == 0
    hook.before_train(runner)  # once
    assert len(warnings) == 1


def test_another_size(whole, tmp_path):
    heads = dict(HEADS, itc=dict(type='ITCHead', queue_size=6))
    with pytest.raises(ValueError, match=r'\(8, 24\).*\(6, 24\).*same queue_size'):
        train(tmp_path, heads, resume=whole[0] / 'iter_4.pth')


@pytest.mark.parametrize('itc', [None, dict(type='ITCHead', queue_size=0)])
def test_models_without_a_queue(itc, tmp_path):
    train(tmp_path, dict(mlm=HEADS['mlm'], itc=itc), iters=1)
    assert 'contrast_queue' not in torch.load(tmp_path / 'iter_1.pth', weights_only=False)


# --------------------------------------------------- averages of the weights
WITH_PIXELS = dict(HEADS, itc=dict(HEADS['itc'], pixel_queue=4))


@pytest.fixture(scope='module')
def whole_with_pixels(tmp_path_factory):
    """The same with images in the queue."""
    folder = tmp_path_factory.mktemp('pixels')
    return folder, *train(folder, WITH_PIXELS)


@pytest.mark.parametrize(
    'heads, update_buffers', [(HEADS, True), (WITH_PIXELS, True), (WITH_PIXELS, False)]
)
def test_averaged_weights(heads, update_buffers, whole, whole_with_pixels, tmp_path, monkeypatch):
    """Validation swaps weights and buffers; the queue is the same afterwards."""
    average = dict(type='ChosenWeightsEMAHook', momentum=0.3, update_buffers=update_buffers)
    _, plain, model = whole if heads is HEADS else whole_with_pixels
    expected, pixel_rows = model.heads.itc.queue.dump(), model.heads.itc.queue.images

    pushed = []
    push = PairQueue.push

    def watched(self, *args):
        push(self, *args)
        pushed.append(copy.deepcopy(self.dump()))

    monkeypatch.setattr(PairQueue, 'push', watched)
    losses, model = train(tmp_path / 'averaged', heads, [average, *HOOKS], **VALIDATION)
    assert losses == pytest.approx(plain, rel=1e-6)
    queue = model.heads.itc.queue
    assert len(pushed) == 6  # by training alone
    for name, value in queue.dump().items():
        torch.testing.assert_close(value, expected[name])
    if heads is WITH_PIXELS:
        assert torch.equal(queue.images, pixel_rows)
    saved = torch.load(tmp_path / 'averaged/iter_6.pth', weights_only=False)
    for part in ('state_dict', 'ema_state_dict'):
        assert not any('queue' in name for name in saved[part])
    torch.testing.assert_close(saved['contrast_queue']['heads.itc.queue']['text'], expected['text'])
    # the average holds the dictionary of visual words, averaged or copied
    found = saved['state_dict']['heads.mvm.dictionary.embed']
    trained = saved['ema_state_dict']['module.heads.mvm.dictionary.embed']
    torch.testing.assert_close(trained, model.heads.mvm.dictionary.embed)
    assert torch.allclose(found, trained) != update_buffers


@pytest.mark.parametrize('update_buffers', [True, False])
def test_averaged_and_resumed(update_buffers, tmp_path):
    hooks = [dict(type='ChosenWeightsEMAHook', momentum=0.3, update_buffers=update_buffers), *HOOKS]
    expected, _ = train(tmp_path / 'whole', hooks=hooks, iters=4)
    losses, _ = train(
        tmp_path / 'again', hooks=hooks, iters=4, resume=tmp_path / 'whole/iter_3.pth'
    )
    assert losses == pytest.approx({3: expected[3]}, rel=1e-6)
