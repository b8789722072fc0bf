"""Image-text contrast against plain loops: queue, guard, hard negatives."""

import math

import pytest
import torch

from fiber_mmdet.models.image_text import EncodedBatch
from image_text_pairs import build_model, images, model_cfg, samples

TEMPERATURE = 0.3


def make(build, itm=None, **itc):
    """A model with random weights, in training mode."""
    heads = dict(itc=dict(type='ITCHead', **itc))
    if itm:
        heads['itm'] = dict(type='ITMHead', negatives=itm)
    model = build(model_cfg(heads)).train()
    model.heads.itc.temp.data.fill_(TEMPERATURE)
    return model


def batch_of(model, count=3, first=0, **fields):
    inputs = dict(image=images(count, seed=first + 1))
    return EncodedBatch(model, inputs, samples(count, first, **fields))


def remember(model, *batches):
    """Write batches to the queue: training steps without an update."""
    for batch in batches:
        model.heads.itc.loss(batch)


def plain_loss(batch, keys, temperature=TEMPERATURE):
    """The loss, row by row.

    ``keys`` has (image feature, text feature, image id or None) of each column beyond the batch.
    """
    image, text, ids = batch.image_features, batch.text_features, batch.field('image_id')
    total = 0
    for row in range(len(batch)):
        others = [(image[j], text[j], ids[j]) for j in range(len(batch)) if j != row] + list(keys)
        others = [key for key in others if key[2] != ids[row]]
        for query, key, place in ((image[row], text[row], 1), (text[row], image[row], 0)):
            scores = [query @ key.detach() / temperature]
            scores += [query @ other[place].detach() / temperature for other in others]
            total = total - (scores[0] - torch.logsumexp(torch.stack(scores), 0)) / 2
    return total / len(batch)


def rows_of(batch):
    return list(
        zip(batch.image_features.detach(), batch.text_features.detach(), batch.field('image_id'))
    )


# ------------------------------------------------------------------- loss
@pytest.mark.parametrize('size', [0, 8])
def test_first_batch(size, build):
    model = make(build, queue_size=size)
    batch = batch_of(model)
    found = model.heads.itc.loss(batch)
    torch.testing.assert_close(found['loss'], plain_loss(batch, []))
    assert found['temperature'].item() == pytest.approx(TEMPERATURE)


def test_rows_of_the_queue_are_negatives(build):
    model = make(build, queue_size=4)
    first, second, third = batch_of(model), batch_of(model, first=3), batch_of(model, 2, first=6)
    remember(model, first, second)
    held = (rows_of(first) + rows_of(second))[-4:]
    torch.testing.assert_close(model.heads.itc.loss(third)['loss'], plain_loss(third, held))


def test_evaluation_reads_the_queue_but_does_not_write(build):
    model = make(build, queue_size=8).eval()
    queue = model.heads.itc.queue
    remember(model, batch_of(model))
    assert queue.total == 0
    remember(model.train(), batch_of(model))
    assert queue.total == 3


def test_legacy_queue_starts_with_noise(build):
    """All columns take part from the start; noise is longer than features: a higher loss."""
    model = make(build, queue_size=20, legacy_queue=True)
    queue = model.heads.itc.queue
    noise = [(i, t, None) for i, t in zip(queue.image.clone(), queue.text.clone())]
    assert noise[0][0].norm() > 2
    first, second = batch_of(model), batch_of(model, first=3)
    found = model.heads.itc.loss(first)['loss']
    torch.testing.assert_close(found, plain_loss(first, noise))
    assert found > plain_loss(first, []) + 1
    torch.testing.assert_close(
        model.heads.itc.loss(second)['loss'], plain_loss(second, rows_of(first) + noise[3:])
    )


@pytest.mark.parametrize('legacy', [False, True])
def test_other_captions_of_an_image_are_not_negatives(legacy, build):
    model = make(build, queue_size=10, legacy_queue=legacy)
    queue = model.heads.itc.queue
    noise = [(i, t, None) for i, t in zip(queue.image.clone(), queue.text.clone())]
    first = batch_of(model, image_id=[7, 0, 8])  # free rows of the queue have the id 0, too
    second = batch_of(model, 4, first=3, image_id=[5, 7, 5, 0])
    remember(model, first)
    keys = rows_of(first) + (noise[3:] if legacy else [])
    torch.testing.assert_close(model.heads.itc.loss(second)['loss'], plain_loss(second, keys))


def test_image_ids_may_be_names(build):
    model = make(build)
    names = batch_of(model, image_id=['a.jpg', 'b.jpg', 'a.jpg'])
    numbers = batch_of(model, image_id=[3, 4, 3])
    found, expected = (model.heads.itc.similarities(batch)[0] for batch in (names, numbers))
    assert torch.equal(found, expected) and torch.isinf(found).sum() == 2


def test_without_the_guard(build):
    model = make(build, same_image_guard=False)
    first = batch_of(model, image_id=[7, 7, 8])
    second = batch_of(model, first=3, image_id=[7, 8, 8])
    remember(model, first)
    keys = [(i, t, None) for i, t, _ in rows_of(first)]
    found = model.heads.itc.loss(second)['loss']
    for record, name in zip(second.samples, 'abc'):
        record.set_metainfo(dict(image_id=name))
    torch.testing.assert_close(found, plain_loss(second, keys))
    nameless = EncodedBatch(model, dict(image=images(2)), samples(2))
    for record in nameless.samples:
        record.pop('image_id')
    model.heads.itc.loss(nameless)  # which does not read the ids
    model.heads.itc.same_image_guard = True
    with pytest.raises(KeyError, match="a sample has no 'image_id'"):
        model.heads.itc.loss(nameless)


def test_keys_carry_no_gradient(build):
    """The image tower learns from image-to-text alone, the text tower from text-to-image."""
    model = make(build, queue_size=8)
    remember(model, batch_of(model, first=3))
    batch = batch_of(model)
    model.heads.itc.loss(batch)['loss'].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.heads.itc.queue.counts.fill_(3)  # as before the batch
    i2t, _ = model.heads.itc.similarities(batch_of(model))
    (torch.nn.functional.cross_entropy(i2t, torch.arange(3)) / 2).backward()
    for name, parameter in model.named_parameters():
        if name.startswith(('backbone.image', 'image_norm', 'contrast.image')):
            assert (parameter.grad is None) == (name not in found)
            if name in found:
                torch.testing.assert_close(parameter.grad, found[name])
        elif name.startswith(('backbone.text', 'contrast.text')):
            assert parameter.grad is None and ('image_attention' in name) == (name not in found)


@pytest.mark.parametrize('value, bound', [(-0.2, 0.001), (0.0005, 0.001), (4.0, 1.0), (0.5, 0.5)])
def test_temperature_stays_within_bounds(value, bound, build):
    model = make(build)
    model.heads.itc.temp.data.fill_(value)
    batch = batch_of(model)
    found = model.heads.itc.loss(batch)
    assert model.heads.itc.temp.item() == pytest.approx(bound) == found['temperature'].item()
    torch.testing.assert_close(found['loss'], plain_loss(batch, [], bound), rtol=1e-4, atol=1e-4)
    found['loss'].backward()
    assert model.heads.itc.temp.grad is not None


def test_predicted_features(build):
    model = make(build).eval()
    batch = batch_of(model)
    for found, image, text in zip(
        model.heads.itc.predict(batch), batch.image_features, batch.text_features
    ):
        assert torch.equal(found['image_feature'], image)
        assert torch.equal(found['text_feature'], text)
        assert found['image_feature'].norm() == pytest.approx(1)


# ---------------------------------------------------------- hard negatives
def spy_on_draws(monkeypatch, model, choose=None):
    """A list of the weights of both draws: of texts for images, of images for texts."""
    seen = []
    draw = model.heads.itc.draw

    def spied(weights):
        seen.append(weights.clone())
        return draw(weights) if choose is None else torch.tensor(choose[len(seen) - 1])

    monkeypatch.setattr(model.heads.itc, 'draw', spied)
    return seen


def plain_weights(queries, keys, ids, key_ids, allowed):
    """Softmax over all columns that hold a pair with another image, plus 1e-9."""
    rows = []
    for b, query in enumerate(queries):
        scores = [
            math.exp((query @ key).item() / TEMPERATURE) if j == b or key_ids[j] != ids[b] else 0
            for j, key in enumerate(keys)
        ]
        rows.append(
            [
                0 if j == b or not score or not allowed[j] else score / sum(scores) + 1e-9
                for j, score in enumerate(scores)
            ]
        )
    return torch.tensor(rows)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('pixels', [0, 2])
def test_weights_of_hard_negatives(legacy, pixels, build, monkeypatch):
    model = make(build, itm='hard', queue_size=8, legacy_queue=legacy, pixel_queue=pixels)
    first = batch_of(model, image_id=[7, 1, 8])
    second = batch_of(model, first=3, image_id=[5, 7, 5])
    remember(model, first)
    seen = spy_on_draws(monkeypatch, model)
    remember(model, second)
    keys = rows_of(second) + rows_of(first)
    ids, key_ids = second.field('image_id'), [key[2] for key in keys]
    image, text = second.image_features, second.text_features
    has_pixels = [True] * 3 + [False] * (3 - pixels) + [True] * pixels
    text_weights = plain_weights(image, [key[1] for key in keys], ids, key_ids, [True] * 6)
    image_weights = plain_weights(text, [key[0] for key in keys], ids, key_ids, has_pixels)
    torch.testing.assert_close(seen[0], text_weights, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(seen[1], image_weights, rtol=1e-4, atol=1e-7)
    assert (seen[0][0] > 0).tolist() == [False, True, False, True, True, True]
    assert (seen[0][1] > 0).tolist() == [True, False, True, False, True, True]


def test_choice_follows_the_weights(build):
    model = make(build)
    torch.manual_seed(0)
    weights = torch.tensor([[0.0, 0.2, 0.0, 0.8], [1.0, 0.0, 3.0, 0.0]])
    drawn = torch.stack([model.heads.itc.draw(weights) for _ in range(2000)])
    share = torch.stack([torch.bincount(column, minlength=4) for column in drawn.T]) / 2000
    torch.testing.assert_close(share, weights / weights.sum(1, keepdim=True), rtol=0, atol=0.04)
    assert share[weights == 0].sum() == 0


def test_chosen_pairs_of_batch_and_queue(build, monkeypatch):
    """Columns 0 to 2 are the batch, 3 to 5 the queue, whose pairs are encoded again."""
    model = make(build, itm='hard', queue_size=6, pixel_queue=3)
    model.data_preprocessor.mean[:], model.data_preprocessor.std[:] = 0.5, 0.25
    first, second = batch_of(model, first=0), batch_of(model, first=3)
    grey = ((first.inputs['image'] * 0.25 + 0.5) * 50).round().clamp(0, 255)  # whole grey values
    first.inputs['image'] = (grey - 0.5) / 0.25
    remember(model, first)
    spy_on_draws(monkeypatch, model, choose=[[4, 2, 3], [1, 5, 3]])
    remember(model, second)
    found = second.hard_negatives
    assert found.text_valid.all() and found.image_valid.all()
    texts, chosen = found.texts.select(found.text_rows), found.images.select(found.image_rows)
    expected = [*first.texts, *second.texts]
    expected = model.encode_text([expected[1], second.texts[2], expected[0]])
    assert torch.equal(texts.mask, expected.mask)
    close = dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts.tokens[texts.mask], expected.tokens[texts.mask], **close)
    former, new = first.inputs['image'], second.inputs['image']
    rows = model.encode_image(torch.stack([new[1], former[2], former[0]]))
    torch.testing.assert_close(chosen.tokens, rows.tokens, **close)
    # the prefixes of the batch are those of the other objectives, with gradient
    assert found.images.tokens[:3].equal(second.image().tokens) and found.texts.tokens.requires_grad


def test_nothing_to_choose_from(build):
    """One pair, or captions of a single image: there are no negatives, and none is drawn."""
    model = make(build, itm='hard', queue_size=4)
    for count, ids in ((1, [3]), (2, [3, 3])):
        batch = batch_of(model, count, image_id=ids)
        remember(model, batch)
        assert not batch.hard_negatives.text_valid.any()
        assert not batch.hard_negatives.image_valid.any()
    batch = batch_of(model, 1, image_id=[4])  # texts are in the queue now, images are not
    remember(model, batch)
    assert batch.hard_negatives.text_valid.all() and not batch.hard_negatives.image_valid.any()


def test_negatives_are_chosen_only_if_used(build):
    for model in (make(build), make(build, itm='view', queue_size=6, pixel_queue=6)):
        batch = batch_of(model)
        remember(model, batch)
        assert batch.hard_negatives is None
        assert model.heads.itc.queue.filled == 3 and model.heads.itc.queue.images is None


def test_any_head_can_use_negatives(build, monkeypatch):
    """Also one that a user adds."""
    monkeypatch.setattr('fiber_mmdet.models.image_text.heads.MLMHead.uses_hard_negatives', True)
    model = build_model(
        model_cfg(
            dict(itc=dict(type='ITCHead', queue_size=4, pixel_queue=2), mlm=dict(type='MLMHead'))
        )
    )
    batch = batch_of(model)
    remember(model, batch)
    assert batch.hard_negatives.text_valid.all() and model.heads.itc.queue.pixels == 2


def test_queue_is_not_saved_with_the_weights():
    model = build_model(
        model_cfg(
            dict(itc=dict(type='ITCHead', queue_size=4, pixel_queue=2), itm=dict(type='ITMHead'))
        )
    )
    remember(model, batch_of(model))
    assert [name for name in model.state_dict() if name.startswith('heads.itc.')] == [
        'heads.itc.temp'
    ]
