"""Image-text matching: pairs, their order, labels and scores."""

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.image_text import EncodedBatch
from image_text_pairs import images, model_cfg, samples


@pytest.fixture
def hard(build):
    """A model with contrast, in training mode."""
    heads = dict(itc=dict(type='ITCHead', queue_size=6), itm=dict(type='ITMHead'))
    return build(model_cfg(heads)).train()


@pytest.fixture
def plain(build):
    """A model with false images from the dataset."""
    return build(model_cfg(dict(itm=dict(type='ITMHead', negatives='view')))).train()


def judge(model, pixels, texts):
    """(n, 2) logits of pairs, each of which is fused separately."""
    found = []
    for image, text in zip(pixels, texts):
        ids, mask = model.tokenize([text])
        fused = model.backbone(image[None], ids, mask)
        text_token = model.fused.text_proj(fused.text[:, 0])
        mean = model.fused.image_proj(fused.image).mean((1, 2))
        pooled = [
            torch.tanh(model.fused.text_pooler.dense(text_token)),
            torch.tanh(model.fused.image_pooler.dense(mean)),
        ]
        found.append(model.heads.itm.fc(torch.cat(pooled, -1)))
    return torch.cat(found)


def spy_on_pairs(monkeypatch, model):
    """A list of the prefixes that are fused."""
    seen = []
    fuse = model.fuse

    def spied(image, text):
        seen.append((image, text))
        return fuse(image, text)

    monkeypatch.setattr(model, 'fuse', spied)
    return seen


def test_hard_pairs(hard, monkeypatch):
    """The pairs, then each image with a false text, then each text with a false image."""
    former = EncodedBatch(hard, dict(image=images(3, seed=9)), samples(3, 5))
    hard.heads.itc.loss(former)  # fills the queue
    rows = iter(([4, 0, 1], [1, 2, 0]))  # the first text comes from the queue
    monkeypatch.setattr(hard.heads.itc, 'draw', lambda weights: torch.tensor(next(rows)))
    inputs, records = images(3), samples(3)
    texts, queued = [r.text for r in records], [r.text for r in samples(3, 5)]
    seen = spy_on_pairs(monkeypatch, hard)
    found = hard(dict(image=inputs), records, mode='loss')
    image, text = seen[0]
    expected_texts = [*texts, queued[1], texts[0], texts[1], *texts]
    expected_images = torch.cat([inputs, inputs, inputs[[1, 2, 0]]])
    torch.testing.assert_close(
        image.tokens, hard.encode_image(expected_images).tokens, rtol=1e-4, atol=1e-5
    )
    prefix = hard.encode_text(expected_texts)
    assert torch.equal(text.mask, prefix.mask)
    real = text.mask
    torch.testing.assert_close(text.tokens[real], prefix.tokens[real], rtol=1e-4, atol=1e-5)
    logits = judge(hard, expected_images, expected_texts)
    labels = torch.tensor([1] * 3 + [0] * 6)
    expected = F.cross_entropy(logits, labels)
    torch.testing.assert_close(found['loss_itm'], expected, rtol=1e-4, atol=1e-4)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert found['itm_accuracy'].item() == pytest.approx(accuracy)


def test_pairs_without_a_negative_are_left_out(hard):
    """Two captions of one image, and a third pair: each has a negative but no wrong one."""
    inputs, records = images(3), samples(3, image_id=[4, 4, 9])
    batch = EncodedBatch(hard, dict(image=inputs), records)
    hard.heads.itc.loss(batch)
    _, _, labels = hard.heads.itm.hard_pairs(batch)
    assert labels.tolist() == [1, 1, 1] + [0] * 6
    for rows in (batch.hard_negatives.text_rows, batch.hard_negatives.image_rows):
        assert rows[:2].tolist() == [2, 2]

    alone = EncodedBatch(hard, dict(image=images(1)), samples(1))
    hard.heads.itc.queue.counts.zero_()
    hard.heads.itc.loss(alone)
    image, text, labels = hard.heads.itm.hard_pairs(alone)
    assert labels.tolist() == [1] and len(image) == len(text) == 1
    loss = hard.heads.itm.loss(alone)['loss']
    torch.testing.assert_close(
        loss, F.cross_entropy(judge(hard, images(1), alone.texts), labels), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('count', [1, 4, 5])
def test_false_images_of_the_dataset(plain, count, monkeypatch):
    """floor(n / 2) random pairs keep their image; texts stay."""
    views = dict(image=images(count), false_image=images(count, seed=5))
    kept = torch.arange(count).flip(0)[: count // 2]
    monkeypatch.setattr(plain.heads.itm, 'draw_matches', lambda n: kept)
    records = samples(count)
    labels = torch.zeros(count, dtype=torch.long)
    labels[kept] = 1
    assert labels.sum() == count // 2
    pixels = torch.where(labels[:, None, None, None] == 1, views['image'], views['false_image'])
    logits = judge(plain, pixels, [r.text for r in records])
    encoded = []
    encode = plain.encode_image
    monkeypatch.setattr(plain, 'encode_image', lambda x: encoded.append(len(x)) or encode(x))
    found = plain(views, records, mode='loss')['loss_itm']
    assert encoded == [count]  # no image is encoded without being used
    torch.testing.assert_close(found, F.cross_entropy(logits, labels), rtol=1e-4, atol=1e-4)


def test_pairs_that_keep_their_image_are_random(plain):
    torch.manual_seed(0)
    drawn = [plain.heads.itm.draw_matches(5) for _ in range(2000)]
    assert all(len(rows) == len(set(rows.tolist())) == 2 for rows in drawn)
    share = torch.bincount(torch.cat(drawn), minlength=5) / 2000
    torch.testing.assert_close(share, torch.full((5,), 0.4), rtol=0, atol=0.08)


def test_scores(plain):
    head, pooled = plain.heads.itm, torch.randn(6, 48)
    logits = head.fc(pooled)
    torch.testing.assert_close(head.match_scores(pooled), logits[:, 1] - logits[:, 0])
    head.score = 'logit'
    assert torch.equal(head.match_scores(pooled), logits[:, 1])


def test_predicted_probability(plain):
    records = samples(2)
    plain.eval()(dict(image=images(2)), records, mode='predict')
    logits = judge(plain, images(2), [r.text for r in records])
    for record, odds in zip(records, logits[:, 1] - logits[:, 0]):
        assert record.pred_match == pytest.approx(odds.sigmoid().item(), rel=1e-4)
