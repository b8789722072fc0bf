"""GOLD: weights of a small table, denominators, and the copy that weights come from."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.image_text.heads.caption_gold import (
    GoldLoss,
    PeriodicCopy,
    gold_loss,
    gold_weights,
    suffix_means,
)
from image_text_pairs import build_model, images, model_cfg, samples

PROBS = torch.tensor([[0.8, 0.2, 0.5, 0.0], [0.6, 0.9, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()


# ---------------------------------------------------------------- the weights
def test_means_of_suffixes():
    expected = torch.tensor([[0.5, 0.35, 0.5, 0.0], [0.75, 0.9, 0.0, 0.0], [0.0] * 4])
    torch.testing.assert_close(suffix_means(PROBS, MASK), expected)


def test_weights_of_a_table():
    free = gold_weights(PROBS, MASK, min_weight=0.0)
    torch.testing.assert_close(
        free, torch.tensor([[0.4, 0.07, 0.25, 0.0], [0.45, 0.81, 0.0, 0.0], [0.0] * 4])
    )
    bounded = gold_weights(PROBS, MASK, min_weight=0.1)
    torch.testing.assert_close(
        bounded, torch.tensor([[0.4, 0.1, 0.25, 0.1], [0.45, 0.81, 0.1, 0.1], [0.1] * 4])
    )


LOSSES = torch.tensor([[1.0, 2.0, 4.0, 0.0], [3.0, 1.0, 0.0, 0.0], [0.0] * 4])


def test_sums_are_divided_by_the_number_of_words():
    weights = gold_weights(PROBS, MASK, 0.1)
    counts = GoldLoss().counts(MASK, max_tokens=50)
    assert counts.tolist() == [3, 2, 1]
    expected = ((0.4 + 0.2 + 1.0) / 3 + (1.35 + 0.81) / 2 + 0) / 3
    assert gold_loss(LOSSES, weights, counts).item() == pytest.approx(expected, rel=1e-6)


def test_reference_divides_by_the_padding():
    """Padding up to the fixed length of the reference, not to the longest caption of the batch."""
    weights = gold_weights(PROBS, MASK, 0.1)
    counts = GoldLoss(legacy_denominator=True).counts(MASK, max_tokens=10)
    assert counts.tolist() == pytest.approx([7, 8, 10])
    expected = ((0.4 + 0.2 + 1.0) / 7 + (1.35 + 0.81) / 8 + 0) / 3
    assert gold_loss(LOSSES, weights, counts).item() == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------- the head
def gold_model(dropout=0.0, **gold):
    cfg = model_cfg(dict(caption=dict(type='CaptionHead', objective=dict(type='GoldLoss', **gold))))
    cfg.backbone.text.dropout = dropout
    model = build_model(cfg)
    model.init_weights()
    return model


def batch_of(model, count=3):
    return EncodedBatch(model, dict(image=images(count)), samples(count))


def scored(model, batch):
    captioner = model.heads.caption.captioner(model)
    return captioner.score(captioner.encode(batch.image()), *batch.tokens)


def test_first_loss_is_weighted_by_the_model_s_own_probabilities():
    model = gold_model(min_weight=0.0)
    model.words.bias.data[:200] += 4  # far from uniform, so that weights differ
    batch = batch_of(model)
    tokens = scored(model, batch)
    probs = torch.exp(-tokens.losses) * tokens.mask
    weights = (probs * suffix_means(probs, tokens.mask)).detach()
    expected = ((tokens.losses * weights).sum(1) / tokens.mask.sum(1)).mean()
    found = model.heads.caption.loss(batch)
    torch.testing.assert_close(found['loss'], expected, rtol=1e-4, atol=0)
    assert weights.max() > 10 * weights[tokens.mask].min()
    found['loss'].backward()
    assert model.words.bias.grad.abs().max() > 0


def test_the_copy_has_no_dropout():
    model = gold_model(dropout=0.5)
    head = model.heads.caption
    captioner = head.captioner(model)
    first, again = (head.objective.probabilities(captioner, batch_of(model)) for _ in range(2))
    assert torch.equal(first, again)
    model.eval()
    tokens = scored(model, batch_of(model))
    torch.testing.assert_close(first, (torch.exp(-tokens.losses) + 1e-9) * tokens.mask)


@torch.no_grad()
def test_evaluation_is_plain_likelihood():
    for legacy in (False, True):
        model = gold_model(legacy_denominator=legacy).eval()
        batch = batch_of(model)
        tokens = scored(model, batch)
        words = 3 * model.max_tokens if legacy else tokens.mask.sum()
        assert model.max_tokens == 50
        found = model.heads.caption.loss(batch)
        torch.testing.assert_close(found['loss'], tokens.losses.sum() / words)
        assert model.heads.caption.objective.copy.decoder is None


# ------------------------------------------------------------------- the copy
def weights_of(decoder):
    return [value.clone() for part in decoder for value in part.state_dict().values()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


def train(model, wrapper, iterations):
    """Yields the weights of the copy and of the model at the start of each iteration."""
    head = model.heads.caption
    for _ in range(iterations):
        before = weights_of(head.captioner(model).decoder)
        data = dict(inputs=dict(image=images(2)), data_samples=samples(2))
        model.train_step(data, wrapper)
        yield weights_of(head.objective.copy.decoder), before


@pytest.mark.parametrize('fused', [False, True])
def test_the_copy_follows_every_few_optimiser_steps(fused):
    """Every three steps of two iterations each: accumulating gradients is not a step."""
    model = gold_model(refresh_every=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 16)
    history = list(train(model, wrapper, 14))
    fresh = [i for i, (mine, now) in enumerate(history) if equal(mine, now)]
    assert fresh == [0, 1, 6, 7, 12, 13]
    for i in (2, 5):
        assert equal(history[i][0], history[0][0])
    for i in (8, 11):
        assert equal(history[i][0], history[6][0])


def test_the_copy_is_not_part_of_the_model():
    model = gold_model()
    names, count = set(model.state_dict()), len(list(model.modules()))
    list(train(model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)), 1))
    copied = model.heads.caption.objective.copy
    assert copied.decoder is not None
    assert set(model.state_dict()) == names and len(list(model.modules())) == count
    mine = {id(p) for part in copied.decoder for p in part.parameters()}
    assert not mine & {id(p) for p in model.parameters()}
    for part in copied.decoder:
        assert not part.training
        assert all(not p.requires_grad and p.grad is None for p in part.parameters())
    model.eval().train()
    assert not copied.decoder.backbone.training
    assert copy.deepcopy(model).heads.caption.objective.copy.decoder is None
    assert ExponentialMovingAverage(model).module.heads.caption.objective.copy.decoder is None


def test_resumed_training_starts_with_the_resumed_weights():
    model = gold_model(refresh_every=2)
    list(train(model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)), 3))
    resumed = gold_model(refresh_every=2)
    resumed.load_state_dict(model.state_dict())
    mine, now = next(train(resumed, OptimWrapper(torch.optim.SGD(resumed.parameters(), lr=0.1)), 1))
    assert equal(mine, now)


def test_sharded_weights_are_refused(monkeypatch):
    where = 'fiber_mmdet.models.image_text.heads.caption_objective'
    monkeypatch.setattr(f'{where}.FSDPModule', torch.nn.Linear)
    with pytest.raises(RuntimeError, match='GoldLoss copies the weights.*fsdp.py'):
        gold_model()(dict(image=images(1)), samples(1), 'loss')


def test_misspelt_and_wrong_settings():
    with pytest.raises(TypeError, match="GoldLoss has no argument 'refresh'"):
        gold_model(refresh=3)
    with pytest.raises(ValueError, match='refresh_every=0 must be at least 1'):
        PeriodicCopy(0)
