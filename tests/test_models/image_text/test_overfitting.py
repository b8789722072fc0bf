"""The heads learn 64 samples by heart: what they are told reaches what they predict.

Each sample needs both its image and its text, so a tower that is cut off, a gate that stays closed
or a gradient that is lost in fusion leaves the score below 1.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.structures import SampleGroup
from image_text_pairs import build_model, model_cfg, samples

COLORS = ('red', 'green', 'blue', 'yellow', 'purple', 'orange', 'cyan', 'white')
SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'diamond', 'ring', 'heart')
NAMES = [f'{color} {shape}' for color, shape in itertools.product(COLORS, SHAPES)]  # 64
HEADS = dict(
    mlm=dict(type='MLMHead', mask_prob=0.4),
    itc=dict(type='ITCHead', queue_size=0),
    itm=dict(type='ITMHead'),
    vqa=dict(type='VQAHead', num_answers=4, prior_prob=0.25),
    nlvr2=dict(type='NLVR2Head'),
    caption=dict(type='CaptionHead', max_new_tokens=6, decoding='greedy'),
)


@pytest.fixture
def images():
    """64 images of 64 pixels, each of 4x4 random flat tiles."""
    tiles = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return F.interpolate(tiles, 64)


def train(model, batch, done, steps=400, lr=3e-3):
    """Train on ``batch()`` until ``done()``; the number of steps, or None if it never was."""
    torch.manual_seed(0)
    model.init_weights()
    groups = [
        dict(params=[p], lr=lr * (10 if name.endswith('.gate') else 1))
        for name, p in model.named_parameters()
        if not name.endswith('.temp')  # its gradient would fill the norm that is clipped
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=20)
    for step in range(1, steps + 1):
        losses = model(*batch(), mode='loss')
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith('loss')).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        if step % 10 == 0:
            model.eval()
            with torch.no_grad():
                finished = done()
            model.train()
            if finished:
                return step
    return None


def model_with(*heads):
    return build_model(model_cfg({name: HEADS[name] for name in heads}))


def encoded(model, inputs, data):
    return EncodedBatch(model, inputs, data)


def test_questions(images):
    """Eight questions to each of eight images; the answers depend on both."""
    answers = torch.randint(4, (64,), generator=torch.Generator().manual_seed(5)).tolist()
    pairs = samples(
        64,
        text=[f'is there a {shape}?' for _ in range(8) for shape in SHAPES],
        answer_labels=[[answer] for answer in answers],
        answer_scores=[[1.0]] * 64,
    )
    groups = [SampleGroup(samples=pairs[i : i + 8]) for i in range(0, 64, 8)]
    model = model_with('vqa')
    inputs = dict(image=images[:8])

    def right():
        found = model.heads.vqa.predict(encoded(model, inputs, groups))
        return [one['pred_answer'] for one in found] == answers

    assert train(model, lambda: (inputs, groups), right)


def test_statements(images):
    """Eight statements about each of eight pairs of images: the label depends on all three."""
    labels = torch.randint(2, (64,), generator=torch.Generator().manual_seed(5)).tolist()
    data = samples(64, text=[f'both have a {shape}' for shape in SHAPES] * 8, label=labels)
    groups = [SampleGroup(samples=data[i : i + 8]) for i in range(0, 64, 8)]
    left, right = ([pair[side] for pair in itertools.product(range(4), (4, 5))] for side in (0, 1))
    inputs = dict(image=images[left], image_1=images[right])
    model = model_with('nlvr2')

    def learned():
        found = model.heads.nlvr2.predict(encoded(model, inputs, groups))
        return [one['pred_label'] for one in found] == labels

    assert train(model, lambda: (inputs, groups), learned)


def test_contrast(images):
    """Each of 64 images finds its text, and each text its image."""
    data = samples(64, text=NAMES, image_id=list(range(64)))
    inputs = dict(image=images)
    model = model_with('itc')

    def learned():
        batch = encoded(model, inputs, data)
        similar = batch.image_features @ batch.text_features.T
        own = torch.arange(64)
        return bool((similar.argmax(0) == own).all() and (similar.argmax(1) == own).all())

    assert train(model, lambda: (inputs, data), learned)


def test_matching(images):
    """Of 66 pairs, it tells the 22 that match from those that nearly do."""
    data = samples(22, text=NAMES[:22], image_id=list(range(22)))
    inputs = dict(image=images[:22])
    model = model_with('itc', 'itm')

    def learned():
        torch.manual_seed(1)  # of the negatives
        losses = model(inputs, data, mode='loss')
        return losses['itm_accuracy'] == 1

    assert train(model, lambda: (inputs, data), learned, lr=1e-3)


def test_masked_words(images):
    """Words hidden from the text are read from the image."""
    data = samples(64, text=NAMES)
    inputs = dict(image=images)
    model = model_with('mlm')

    def learned():
        found = model.heads.mlm.predict(encoded(model, inputs, data))
        return all(one['mlm_hits'] == one['mlm_count'] for one in found)

    assert train(model, lambda: (inputs, data), learned)


def test_captions(images):
    """Captions are written from the image alone."""
    data = samples(64, text=NAMES, image_id=list(range(64)))
    inputs = dict(image=images)
    model = model_with('caption')

    def learned():
        found = model.heads.caption.predict(encoded(model, inputs, data))
        return [one['pred_caption'] for one in found] == NAMES

    assert train(model, lambda: (inputs, data), learned)
