"""Several texts of an image in one batch: the losses and gradients of separate pairs."""

from types import SimpleNamespace

import pytest
import torch

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.structures import SampleGroup
from fiber_mmdet.text.cider_d import CiderD, caption_words
from image_text_pairs import TEXTS, build_model, images, model_cfg, samples

COUNTS = (3, 1, 2)  # texts of each image
ROWS = [0, 0, 0, 1, 2, 2]
HEADS = {
    'pre-training': dict(
        mlm=dict(type='MLMHead', mask_prob=0.5),
        itc=dict(type='ITCHead', queue_size=12, pixel_queue=6),
        itm=dict(type='ITMHead'),
    ),
    'false images': dict(itm=dict(type='ITMHead', negatives='view')),
    'without guard': dict(itc=dict(type='ITCHead', queue_size=0, same_image_guard=False)),
    'questions': dict(vqa=dict(type='VQAHead', num_answers=5)),
    'statements': dict(nlvr2=dict(type='NLVR2Head')),
    'captions': dict(caption=dict(type='CaptionHead', max_new_tokens=6)),
    'GOLD': dict(
        caption=dict(type='CaptionHead', max_new_tokens=6, objective=dict(type='GoldLoss'))
    ),
    'visual words': dict(mvm=dict(type='MVMHead', num_words=16, mask_prob=0.0)),
}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    """Objectives compute in float32 at least; here everything is in float64."""
    single = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, 'float', lambda x: x if x.dtype == torch.float64 else single(x)
    )


def grouped(pairs, counts=COUNTS):
    """Samples of pairs as one element of a batch for each image."""
    groups, first = [], 0
    for count in counts:
        groups.append(SampleGroup(samples=pairs[first : first + count]))
        first += count
    return groups


def pairs(count=6, **fields):
    return samples(
        count,
        image_id=ROWS[:count],
        answer_labels=[[i % 5] for i in range(count)],
        answer_scores=[[1.0]] * count,
        label=[i % 2 for i in range(count)],
        **fields,
    )


def views(rows=(0, 1, 2)):
    """Three views of some of three images, float64."""
    names = ('image', 'image_1', 'false_image')
    return {name: images(3, i).double()[list(rows)] for i, name in enumerate(names)}


def opened_model(heads):
    """A model without dropout and drop path, in float64, with open gates."""
    cfg = model_cfg(heads)
    cfg.backbone.text.dropout = 0.0
    cfg.backbone.image.drop_path = 0.0
    model = build_model(cfg)
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.constant_(parameter, 0.5)
    return model.double()


def trained(heads, inputs, records, steps=2):
    """Losses and gradients of the last of some steps; the later ones see a queue."""
    model = opened_model(heads)
    for step in range(steps):
        torch.manual_seed(step)
        model.zero_grad()
        losses = model(inputs, records, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, model


@pytest.mark.parametrize('name', HEADS)
def test_losses_and_gradients_are_those_of_separate_pairs(name):
    separate = trained(HEADS[name], views(ROWS), pairs())
    shared = trained(HEADS[name], views(), grouped(pairs()))
    assert shared[0].keys() == separate[0].keys() and shared[1].keys() == separate[1].keys()
    for key, value in separate[0].items():
        torch.testing.assert_close(shared[0][key], value, rtol=1e-6, atol=1e-9)
    for key, gradient in separate[1].items():
        error = (shared[1][key] - gradient).norm()
        assert error <= 1e-6 * gradient.norm() + 1e-9, (key, error, gradient.norm())
    if name == 'pre-training':
        queues = [model.heads.itc.queue for _, _, model in (shared, separate)]
        for part in ('ids', 'mask', 'image_ids', 'counts', 'images'):
            assert torch.equal(*(getattr(queue, part) for queue in queues)), part


def test_images_are_encoded_once(monkeypatch):
    model = opened_model(dict(HEADS['pre-training'], caption=HEADS['captions']['caption']))
    seen = []
    encode, finish = model.backbone.encode_image, model.backbone.finish_image
    monkeypatch.setattr(
        model.backbone, 'encode_image', lambda x: seen.append(('encode', len(x))) or encode(x)
    )
    monkeypatch.setattr(
        model.backbone, 'finish_image', lambda x: seen.append(('finish', len(x))) or finish(x)
    )
    model(views(), grouped(pairs()), mode='loss')
    assert sorted(seen) == [('encode', 3), ('finish', 3)]


def test_texts_of_an_image_are_no_negatives_of_each_other():
    model = opened_model(HEADS['pre-training'])
    batch = EncodedBatch(model, views(), grouped(pairs()))
    i2t, t2i = model.heads.itc.similarities(batch)
    other = torch.tensor(ROWS)[:, None] != torch.tensor(ROWS)
    finite = other | torch.eye(6, dtype=torch.bool)
    assert torch.equal(i2t.isfinite(), finite) and torch.equal(t2i.isfinite(), finite)
    for _ in range(20):
        found = model.heads.itc.choose_negatives(batch, i2t.detach(), t2i.detach())
        assert all(ROWS[text] != ROWS[i] for i, text in enumerate(found.text_rows.tolist()))
        assert all(image != ROWS[i] for i, image in enumerate(found.image_rows.tolist()))
        assert len(found.images) == 3 and found.image_valid.all()


@pytest.mark.parametrize('counts', [(2, 2), (1, 3)])
def test_samples_of_captions_are_drawn_once_per_image(counts, tmp_path):
    frequencies = str(tmp_path / 'df.json')
    CiderD.from_captions([[[*caption_words(text), '<eos>']] for text in TEXTS]).save(frequencies)
    objective = dict(type='CiderLoss', df_file=frequencies, samples=3)
    head = dict(type='CaptionHead', max_new_tokens=6, objective=objective)
    model = opened_model(dict(caption=head))
    drawn = []
    rewards = model.heads.caption.objective.rewards

    def kept(texts, references):
        drawn.append((len(texts), references))
        return rewards(texts, references)

    model.heads.caption.objective.rewards = kept
    captions = [['a'], ['a'], ['b'], ['b']] if counts == (2, 2) else [['a']] + [['b']] * 3
    records = grouped(samples(4, captions=captions), counts)
    inputs = dict(image=images(2).double())
    model(inputs, records, mode='loss')['loss_caption'].backward()
    assert drawn == [(6, [['a'], ['b']])]


def test_predictions_are_of_one_text_at_a_time():
    model = opened_model(HEADS['questions']).eval()
    with pytest.raises(ValueError, match='texts_per_image=1'):
        model(views(), grouped(pairs()), mode='predict')
    assert len(model(views(), grouped(pairs(3), (1, 1, 1)), mode='predict')) == 3


def test_the_tail_without_text_is_shared_without_a_difference(monkeypatch):
    heads = dict(
        itc=HEADS['pre-training']['itc'],
        caption=HEADS['captions']['caption'],
        tags=dict(type='ImageTagHead', num_tags=3),
    )
    records = grouped(pairs(tags=[[i % 3] for i in range(6)]))
    shared = trained(heads, views(), records)
    monkeypatch.setattr(
        EncodedBatch,
        'finished',
        lambda batch, view='image': batch.model.backbone.finish_image(batch.images(view))[1],
    )
    apart = trained(heads, views(), records)
    for key, value in apart[0].items():
        torch.testing.assert_close(shared[0][key], value, rtol=1e-9, atol=0)
    assert shared[1].keys() == apart[1].keys()
    for key, gradient in apart[1].items():
        torch.testing.assert_close(shared[1][key], gradient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('name', ['pre-training', 'false images'])
def test_matching_of_fewer_texts_leaves_the_others_out_of_the_loss(monkeypatch, name):
    """The third and second text of the images with three and two, and the only one."""
    chosen = torch.tensor([2, 3, 5])
    heads = {key: head for key, head in HEADS[name].items() if key != 'mlm'}
    few = dict(heads, itm=dict(heads['itm'], texts_per_image=1))
    found = []
    for config in (heads, few):
        model = opened_model(config)
        itm = model.heads.itm
        if 'itc' in heads:
            monkeypatch.setattr(model.heads.itc, 'draw', lambda weights: weights.argmax(1))
        monkeypatch.setattr(itm, 'draw_texts', lambda count: torch.arange(count).flip(0))
        # with one text an image, the pair of row 3 of all keeps its image
        kept = torch.tensor([3]) if config is heads else torch.tensor([1])
        monkeypatch.setattr(itm, 'draw_matches', lambda count, kept=kept: kept)
        batch = EncodedBatch(model, views(), grouped(pairs()))
        others = model.heads.itc.loss(batch)['loss'] if 'itc' in heads else 0
        if config is heads:
            pairs_of = itm.hard_pairs if itm.uses_hard_negatives else itm.view_pairs
            image, text, labels = pairs_of(batch)
            rows = chosen
            if itm.uses_hard_negatives:
                assert len(labels) == 18
                rows = torch.cat([chosen, 6 + chosen, 12 + chosen])
            logits = itm.fc(model.fuse(image, text).pooled)[rows]
            loss = torch.nn.functional.cross_entropy(logits, labels[rows])
        else:
            loss = itm.loss(batch)['loss']
        (loss + others).backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        found.append((loss, gradients))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-9, atol=0)
    assert found[1][1].keys() == found[0][1].keys()
    for key, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][key], gradient, rtol=1e-6, atol=1e-9)


def test_texts_that_are_matched():
    itm = opened_model(
        dict(itm=dict(type='ITMHead', negatives='view', texts_per_image=2))
    ).heads.itm

    class Batch(SimpleNamespace):
        def __len__(self):
            return 6

    batch = Batch(texts_of_image=[3, 1, 2], device='cpu')
    drawn = {tuple(itm.matched(batch).tolist()) for _ in range(60)}
    assert drawn == {(0, 1, 3, 4, 5), (0, 2, 3, 4, 5), (1, 2, 3, 4, 5)}
    state = torch.get_rng_state()
    itm.texts_per_image = 3
    assert itm.matched(batch).tolist() == list(range(6)) and itm.count(batch) == 6
    assert torch.equal(torch.get_rng_state(), state)  # as before, where nothing is drawn
    assert itm.lacks_pairs(1, 1, 5) == ''
    itm.texts_per_image = 1
    assert 'a batch of 1 pair' in itm.lacks_pairs(1, 1, 5)
    with pytest.raises(ValueError, match='ITMHead.texts_per_image=0'):
        opened_model(dict(itm=dict(type='ITMHead', negatives='view', texts_per_image=0)))
