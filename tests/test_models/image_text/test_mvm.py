"""Masked visual modelling: the dictionary against plain k-means, hidden cells, the loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.backbone import ImagePrefix
from fiber_mmdet.models.image_text import EncodedBatch, VisualDictionary
from image_text_pairs import images, model_cfg, samples


# ------------------------------------------------------------- dictionary
def dictionary(size=5, dim=3, **more):
    torch.manual_seed(0)
    return VisualDictionary(size, dim, **{'reseed': False, **more})


def features(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_index(x, entries):
    return [
        min(range(len(entries)), key=lambda k: sum((a - b) ** 2 for a, b in zip(row, entries[k])))
        for row in x.tolist()
    ]


def test_nearest_entry():
    words, x = dictionary().eval(), features(4, 6, 3)
    assert words.nearest(x).flatten().tolist() == plain_index(x.flatten(0, 1), words.embed.tolist())


@pytest.mark.parametrize(
    'settings, momenta',
    [
        ({}, [0.99] * 4),
        (dict(momentum=0.4), [0.4] * 4),
    ],
)
def test_update(settings, momenta):
    """Averages of counts and sums, row by row, and their smoothed ratio."""
    words = dictionary(**settings)
    entries = words.embed.double().tolist()
    sums, counts = [list(row) for row in entries], [1.0] * 5
    for step, momentum in enumerate(momenta):
        x = features(2, 7, 3, seed=step) + 0.5
        index = plain_index(x.flatten(0, 1), entries)
        _, found = words(x)
        assert found.flatten().tolist() == index  # the entries from before the update
        rows = x.flatten(0, 1).tolist()
        for k in range(5):
            mine = [row for row, i in zip(rows, index) if i == k]
            counts[k] = momentum * counts[k] + (1 - momentum) * len(mine)
            sums[k] = [
                momentum * s + (1 - momentum) * sum(r[c] for r in mine)
                for c, s in enumerate(sums[k])
            ]
        total = sum(counts)
        for k in range(5):
            smoothed = (counts[k] + 1e-5) / (total + 5e-5) * total
            entries[k] = [s / smoothed for s in sums[k]]
        torch.testing.assert_close(words.embed, torch.tensor(entries), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(words.cluster_size, torch.tensor(counts), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(words.embed_avg, torch.tensor(sums), rtol=1e-4, atol=1e-5)


def test_unused_entries_stay_where_they_are():
    words = dictionary()
    before = words.embed.clone()
    for step in range(20):
        words(before[0] + 0.01 * features(50, 3, seed=step))  # all near the first entry
    torch.testing.assert_close(words.embed[1:], before[1:], rtol=1e-3, atol=1e-3)


def test_entries_start_on_features_and_unused_ones_move():
    words = dictionary(momentum=0.5, reseed=True)
    centres = 10 * torch.eye(3)[:2]  # far from the entries
    for step in range(9):
        x = centres[0] + features(50, 3, seed=step)
        words(x)
    assert torch.cdist(words.embed, centres).argmin(1).eq(0).all()
    assert words.perplexity() > 3  # all of them are in use
    for step in range(12):  # one entry takes all, others become unused: 0.5 ** 12 * 50 < 0.01
        x = centres[1] + 0.01 * features(50, 3, seed=step)
        words(x)
        unused = (words.cluster_size == 1).sum()
        if unused:
            break
    assert step > 5 and 0 < unused < 5
    distances = (words.embed[words.cluster_size == 1][:, None] - x).norm(dim=-1)
    assert (distances.min(1).values < 1e-3).all()  # they lie on features of this batch


def test_straight_through():
    words, x = dictionary(), features(2, 4, 3).requires_grad_()
    quantised, index = words(x)
    torch.testing.assert_close(quantised, words.embed[index])
    weights = features(2, 4, 3, seed=3)
    (quantised * weights).sum().backward()
    torch.testing.assert_close(x.grad, weights)
    assert not words.embed.requires_grad and not list(words.parameters())


def test_evaluation_learns_nothing():
    words = dictionary().eval()
    before = {name: value.clone() for name, value in words.state_dict().items()}
    assert set(before) == {'embed', 'embed_avg', 'cluster_size', 'updates'}
    words(features(9, 3))
    assert all(torch.equal(value, before[name]) for name, value in words.state_dict().items())


def test_statistics_are_single_precision_under_autocast():
    whole, words = dictionary(), dictionary()
    x = features(400, 3)
    whole(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        quantised, _ = words(x)
    assert quantised.dtype == torch.float32 and torch.equal(words.embed, whole.embed)


def test_usage():
    words = dictionary()
    assert words.perplexity().item() == pytest.approx(5) and words.live_fraction().item() == 1
    words.cluster_size.copy_(torch.tensor([30, 30, 0, 30, 0.001]))
    assert words.perplexity().item() == pytest.approx(3, abs=1e-2)
    assert words.live_fraction().item() == pytest.approx(0.6)


# ------------------------------------------------------------------- head
def make(build, num_fused=3, **mvm):
    """A model in training mode; images of 128 pixels have 4 x 4 cells."""
    mvm = {'num_words': 8, 'mask_prob': 1.0, **mvm}
    return build(model_cfg(dict(mvm=dict(type='MVMHead', **mvm)), num_fused=num_fused)).train()


def batch_of(model, count=3, side=128):
    return EncodedBatch(model, dict(image=images(count, side=side)), samples(count))


@pytest.mark.parametrize(
    'num_fused, side, channels', [(1, 1, 128), (2, 1, 128), (3, 2, 64), (4, 2, 64)]
)
def test_tokens_of_a_cell(num_fused, side, channels, build):
    """The first fused block lies in the last stage, or before its merging."""
    model = make(build, num_fused)
    head, batch = model.heads.mvm, batch_of(model)
    assert head.side == side and head.mask_token.shape == (channels,)
    tokens = batch.image().tokens
    assert tokens.shape == (3, 4 * side, 4 * side, channels)
    cells = head.cell_features(tokens)
    assert cells.shape == (3, 4, 4, 24)
    mean = tokens[1, 2 * side : 3 * side, side : 2 * side].mean((0, 1))
    expected = head.project((mean - mean.mean()) / (mean.var(unbiased=False) + 1e-5).sqrt())
    torch.testing.assert_close(cells[1, 2, 1], expected, rtol=1e-4, atol=1e-4)
    assert head.loss(batch)['loss'] > 0


def test_earlier_fusion_and_odd_maps(build):
    """Two mergings are ahead of the first fused block; they round sizes up."""
    model = make(build, num_fused=4)
    model.heads.mvm.side = 4
    cells = model.heads.mvm.cell_features(torch.randn(1, 7, 5, 64))
    assert cells.shape == (1, 2, 2, 24)
    tokens = torch.randn(1, 7, 5, 64)
    hidden = torch.tensor([[[False, True], [True, False]]])
    found = model.heads.mvm.hide(ImagePrefix(tokens, {}), cells, hidden).tokens
    changed = (found != tokens).any(-1)[0]
    assert changed[:4, 4:].all() and changed[4:, :4].all()
    assert not changed[:4, :4].any() and not changed[4:, 4:].any()


def test_all_cells_of_a_word_are_hidden(build):
    head = make(build).heads.mvm
    index = torch.randint(3, (200, 4, 4), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    hidden = head.choose(index)
    for cells, words in zip(hidden, index):
        chosen = words[cells].unique()
        assert len(chosen) == 1 and torch.equal(cells, words == chosen)
    assert len({int(words[cells][0]) for cells, words in zip(hidden, index)}) == 3
    head.mask_prob = 0.25
    chosen = head.choose(index).flatten(1).any(1)
    assert chosen.float().mean() == pytest.approx(0.25, abs=0.1)


def test_one_cell_for_the_batch(build):
    head = make(build, shared_cell=True).heads.mvm
    index = torch.arange(16).reshape(4, 4).repeat(20, 1, 1)  # each word once
    torch.manual_seed(0)
    hidden = head.choose(index).flatten(1)
    assert (hidden == hidden[0]).all() and hidden[0].sum() == 1
    head.shared_cell = False
    assert len(head.choose(index).flatten(1).int().argmax(1).unique()) > 5


def test_loss_in_plain_operations(build, monkeypatch):
    """Images 0 and 2 are chosen; each is fused separately, without its hidden cells."""
    model = make(build, logit_scale=5.0, reseed=False, image_gradient=True)
    head, batch = model.heads.mvm, batch_of(model)
    hidden = torch.zeros(3, 4, 4, dtype=torch.bool)
    hidden[0, 1, 2] = hidden[0, 3, 3] = hidden[2, 0, 0] = True
    monkeypatch.setattr(head, 'choose', lambda index: hidden)
    index = head.dictionary.nearest(head.cell_features(batch.image().tokens))
    before = batch.image().tokens.clone()
    loss = head.loss(batch)['loss']
    assert torch.equal(batch.image().tokens, before)
    losses = []
    for i in (0, 2):
        tokens = model.encode_image(batch.inputs['image'][i : i + 1]).tokens.clone()
        for y, x in hidden[i].nonzero().tolist():
            tokens[0, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = head.mask_token
        fused = model.fuse(ImagePrefix(tokens, {}), model.encode_text([batch.texts[i]]))
        found = fused.image[0].unflatten(0, (4, 4))
        for y, x in hidden[i].nonzero().tolist():
            logits = 5 * F.cosine_similarity(found[y, x][None], head.dictionary.embed)
            losses.append(F.cross_entropy(logits, index[i, y, x]))
    assert len(losses) == 3
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)
    loss.backward()
    assert head.mask_token.grad.any() and model.backbone.image.patch_embed.proj.weight.grad.any()


def test_gradient_of_the_image_tower_is_optional(build):
    """Without it the loss is the same, and the fused blocks still have a gradient."""
    losses = []
    for gradient in (False, True):
        model = make(build, image_gradient=gradient)
        torch.manual_seed(0)
        loss = model.heads.mvm.loss(batch_of(model))['loss']
        loss.backward()
        losses.append(loss.detach())
        assert (model.backbone.image.patch_embed.proj.weight.grad is None) != gradient
        assert model.backbone.image.stages[3].blocks[0].mlp.fc1.weight.grad.any()
    assert torch.equal(*losses)


def test_bound_of_the_reference(build):
    """Cosines alone cannot tell 2048 words apart."""
    model = make(build, num_words=2048, logit_scale=1.0)
    assert model.heads.mvm.loss(batch_of(model))['loss'] > math.log(1 + 2047 * math.exp(-2)) > 5.6


def test_no_chosen_image(build):
    model = make(build, mask_prob=0.0)
    batch = batch_of(model)
    found = model.heads.mvm.loss(batch)
    assert found['loss'].item() == 0 and model.heads.mvm.dictionary.updates == 1
    found['loss'].backward()
    assert not model.heads.mvm.mask_token.grad.any()


def test_logged_use(build):
    model = make(build)
    found = model(dict(image=images(2, side=128)), samples(2), mode='loss')
    assert set(found) == {'loss_mvm', 'mvm_perplexity', 'mvm_live'}
    assert 0 < found['mvm_perplexity'] < 8 and found['mvm_live'] == 1
    total, _ = model.parse_losses(found)
    assert total == found['loss_mvm']


def test_predictions(build, monkeypatch):
    model = make(build, mask_prob=0.01).eval()
    batch = batch_of(model)
    first, second = model.heads.mvm.predict(batch), model.heads.mvm.predict(batch_of(model))
    assert first == second and model.heads.mvm.dictionary.updates == 0
    index = model.heads.mvm.dictionary.nearest(model.heads.mvm.cell_features(batch.image().tokens))
    for found, words in zip(first, index):  # in evaluation each image has a hidden word
        assert found['mvm_count'] in torch.bincount(words.flatten()) and found['mvm_count'] > 0
        assert 0 <= found['mvm_hits'] <= found['mvm_count']
    logits = model.heads.mvm.logits

    def knowing(batch):
        _, words, rows = logits(batch)
        scores = F.one_hot(words, 8).float()
        scores[rows == 1] *= -1
        return scores, words, rows

    monkeypatch.setattr(model.heads.mvm, 'logits', knowing)
    found = model.heads.mvm.predict(batch_of(model))
    assert [f['mvm_hits'] for f in found] == [first[0]['mvm_count'], 0, first[2]['mvm_count']]


def test_feed_words(build):
    """The map to words and the layer after them have a gradient."""
    model = make(build, feed_words=True)
    head = model.heads.mvm
    head.choose = lambda index: torch.arange(16).reshape(4, 4).expand(3, 4, 4) == 6
    head.loss(batch_of(model))['loss'].backward()
    assert head.project.weight.grad.any() and head.word_input.weight.grad.any()
    prefix, words = batch_of(model).image(), torch.randn(3, 4, 4, 24)
    hidden = torch.zeros(3, 4, 4, dtype=torch.bool)
    hidden[1, 2, 3] = True
    tokens = head.hide(prefix, words, hidden).tokens
    assert torch.equal(tokens[1, 4:6, 6:8], head.mask_token.expand(2, 2, -1))
    expected = prefix.tokens[0, 5, 3] + head.word_input(words[0, 2, 1])
    torch.testing.assert_close(tokens[0, 5, 3], expected)
    plain = make(build)
    assert plain.heads.mvm.word_input is None and not plain.heads.mvm.project.weight.requires_grad


def test_other_objectives_are_not_affected(build):
    heads = dict(vqa=dict(type='VQAHead', num_answers=5))
    records = samples(2, answer_labels=[[1]] * 2, answer_scores=[[1.0]] * 2)
    alone = build(model_cfg(heads)).train()
    mvm = dict(type='MVMHead', num_words=8, mask_prob=1.0)
    both = build(model_cfg(dict(mvm=mvm, **heads))).train()
    both.load_state_dict(alone.state_dict(), strict=False)
    losses = [
        model(dict(image=images(2)), records, mode='loss')['loss_vqa'] for model in (alone, both)
    ]
    assert torch.equal(*losses)


def test_dictionary_is_saved(build):
    model = make(build)
    model.heads.mvm.loss(batch_of(model))
    state = model.state_dict()
    assert {'embed', 'embed_avg', 'cluster_size', 'updates'} <= {
        key.removeprefix('heads.mvm.dictionary.') for key in state
    }
    other = make(build)
    other.load_state_dict(state)
    assert torch.equal(other.heads.mvm.dictionary.embed, model.heads.mvm.dictionary.embed)
    assert not torch.equal(make(build).heads.mvm.dictionary.embed, model.heads.mvm.dictionary.embed)


def test_features_start_within_reach(build):
    """Initial features have the dictionary's unit variance, and use several words."""
    head = make(build, num_words=64).heads.mvm
    head.init_weights()
    cells = head.cell_features(100 * torch.randn(4, 32, 32, 64))
    assert cells.std().item() == pytest.approx(1, abs=0.2)
    assert len(head.dictionary.nearest(cells).unique()) > 10
