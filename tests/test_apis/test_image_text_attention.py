"""Attention maps are the weights that the model's own modules use."""

import numpy as np
import pytest
import torch

from fiber_mmdet.apis.attention_maps import find_phrases
from fiber_mmdet.apis.attention_weights import attention_weights, record_fusion
from fiber_mmdet.apis.inputs import read_image
from fiber_mmdet.models.backbone.cross_attention import GatedCrossAttention

TEXT = 'a small blue square left of the green star, and a star'


@pytest.fixture
def pair(ask):
    """Prefixes of an image that is wider than high, and of a text."""
    images = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return ask.model.encode_image(images), ask.model.encode_text([TEXT])


@pytest.mark.parametrize('query_norm', [False, True])
def test_weights_are_those_of_the_module(build, query_norm):
    module = build(GatedCrossAttention(16, 12, num_heads=4, query_norm=query_norm))
    x, context = torch.randn(2, 5, 16), torch.randn(2, 7, 12)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    with torch.no_grad():
        found = attention_weights(module, x, context, mask)
        values = module.keys_values(context)[1]
        output = module.gate * module.proj((found @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(output, module(x, context, mask))
        torch.testing.assert_close(found.sum(-1), torch.ones(2, 4, 5))
        assert (found[1, :, :, 4:] == 0).all() and (found[0] > 0).all()


def test_steps_are_those_of_the_fusion(ask, pair):
    backbone, tokens = ask.model.backbone, pair[1].tokens.shape[1]
    before = backbone.fuse(*pair)
    steps = record_fusion(backbone, *pair)
    after = backbone.fuse(*pair)
    assert torch.equal(before.image, after.image) and torch.equal(before.text, after.text)
    assert not any(module._forward_hooks for module in backbone.modules())
    # three fused steps, the merging lies behind the first
    assert [(step.layer, step.block) for step in steps] == [(1, 3), (2, 4), (3, 5)]
    assert [tuple(step.looks.shape) for step in steps] == [
        (4, tokens, 4, 8),
        (4, tokens, 2, 4),
        (4, tokens, 2, 4),
    ]
    assert [tuple(step.reads.shape) for step in steps] == [
        (4, 4, 8, tokens),
        (8, 2, 4, tokens),
        (8, 2, 4, tokens),
    ]
    for step in steps:
        torch.testing.assert_close(step.looks.sum((-2, -1)), torch.ones(4, tokens))
        torch.testing.assert_close(step.reads.sum(-1), torch.ones(step.reads.shape[:-1]))
        assert step.text_gate == backbone.text.layers[step.layer].image_attention.gate.item()
    # what the first fused layer's tokens read, made from the weights, is what they do read
    layer = backbone.text.layers[1]
    mask = pair[1].mask[:, None, None]
    with torch.no_grad():
        image = pair[0].tokens.flatten(1, 2)
        attended = layer.attention(pair[1].tokens, mask)
        values = layer.image_attention.keys_values(image)[1]
        mixed = (steps[0].looks.flatten(2)[None] @ values).transpose(1, 2).flatten(2)
        attention = layer.image_attention
        torch.testing.assert_close(
            attention.gate * attention.proj(mixed), attention(attended, image), rtol=1e-4, atol=1e-5
        )


def test_hooks_go_when_the_model_fails(ask, pair):
    with pytest.raises(ValueError):
        record_fusion(ask.model.backbone, pair[0], pair[1].select([0, 0]))
    assert not any(module._forward_hooks for module in ask.model.backbone.modules())


# ----------------------------------------------------------------------------- maps
def test_maps_of_words(ask, scenes):
    maps = ask.attention(scenes[0], TEXT)
    assert [phrase.words for phrase in maps.phrases] == TEXT.replace(',', '').split()
    assert maps.looks.shape == maps.reads.shape == (12, 4, 4)
    assert maps.looks.min() >= 0 and maps.looks.sum((1, 2)) == pytest.approx(1)
    # the rest of what cells read are the comma, <s> and </s>
    assert maps.reads.min() >= 0 and (maps.reads.sum(0) < 1).all()
    assert np.ptp(maps.looks[2]) > 0.001 and np.ptp(maps.reads[2]) > 0.001
    assert maps.image == str(scenes[0]) and len(maps.gates[0]) == len(maps.gates[1]) == 3


def test_mean_of_layers_and_heads(ask, scenes):
    mean = ask.attention(scenes[0], TEXT, 'blue square')
    layers = [ask.attention(scenes[0], TEXT, 'blue square', layer=i) for i in range(3)]
    assert [maps.looks.shape for maps in layers] == [(1, 4, 4), (1, 2, 2), (1, 2, 2)]
    # a coarse cell has four fine ones, which share its weight, and all read as it does
    fine = [layers[0], *layers[1:]]
    looks = [layers[0].looks, *(np.kron(maps.looks, np.ones((2, 2))) / 4 for maps in layers[1:])]
    reads = [layers[0].reads, *(np.kron(maps.reads, np.ones((2, 2))) for maps in fine[1:])]
    assert mean.looks == pytest.approx(np.mean(looks, 0), abs=1e-6)
    assert mean.reads == pytest.approx(np.mean(reads, 0), abs=1e-6)
    heads = [ask.attention(scenes[0], TEXT, 'blue square', 0, head).looks for head in range(4)]
    assert layers[0].looks == pytest.approx(np.mean(heads, 0), abs=1e-6)
    assert np.ptp(heads, axis=0).max() > 1e-3


def test_maps_of_phrases_are_those_of_their_tokens(ask, scenes):
    raw = ask.attention_weights(scenes[0], TEXT)[0]
    tokens = ask.model.tokenizer([TEXT]).encodings[0].tokens
    maps = ask.attention(scenes[0], TEXT, ['blue square', (48, 54)], layer=0)
    for phrase, looks, reads in zip(maps.phrases, maps.looks, maps.reads):
        chosen = list(phrase.tokens)
        assert ''.join(tokens[i] for i in chosen).replace('Ġ', ' ').strip() == phrase.words
        assert looks == pytest.approx(raw.looks.mean(0)[chosen].mean(0).numpy(), abs=1e-6)
        assert reads == pytest.approx(raw.reads.mean(0)[..., chosen].sum(-1).numpy(), abs=1e-6)


@pytest.mark.parametrize(
    'layer, head, message',
    [
        (3, None, 'no layer 3: choose from 0 to 2'),
        (-1, None, 'no layer -1'),
        (0, 9, 'no head 9: choose from 0 to 3'),
    ],
)
def test_layers_and_heads_that_are_not_there(ask, scenes, layer, head, message):
    with pytest.raises(ValueError, match=message):
        ask.attention(scenes[0], TEXT, layer=layer, head=head)


def test_a_single_image(ask, scenes):
    with pytest.raises(ValueError, match='a single image'):
        ask.attention(scenes, TEXT)


def test_drawings(ask, scenes, tmp_path):
    maps = ask.attention(scenes[0], 'a red ring', ['red', 'ring'])
    looks = maps.draw(path=tmp_path / 'new/maps.png')
    assert (read_image(tmp_path / 'new/maps.png') == looks).all()
    assert maps.draw(direction='both').shape[0] > 1.8 * looks.shape[0]
    pixels = ask.attention(read_image(scenes[0]), 'a red ring')
    with pytest.raises(ValueError, match='came as pixels'):
        pixels.draw()
    pixels.draw(read_image(scenes[0]))


# -------------------------------------------------------------------------- phrases
@pytest.fixture
def spans(ask):
    """Spans that are found in a text."""

    def find(wanted, text=TEXT):
        return [
            phrase.span
            for phrase in find_phrases(ask.model.tokenizer([text], truncate=True), wanted)
        ]

    return find


def test_phrases_are_whole_words(spans):
    assert spans('Star', 'two starfish and a star') == [(19, 23)]
    assert spans(['green star', 'a']) == [(32, 42), (0, 1)]
    assert spans((8, 12)) == spans([(8, 12)]) == [(8, 12)]
    assert spans(None, "don't half-open it!") == [(0, 5), (6, 15), (16, 18)]


@pytest.mark.parametrize(
    'wanted, message',
    [
        ('moon', "'moon' does not occur"),
        ('sta', "'sta' does not occur .* within 'star'"),
        ('', "'' does not occur"),
        ((8, 80), 'characters 8 to 80 are not in a text of 54'),
    ],
)
def test_phrases_that_are_not_there(spans, wanted, message):
    with pytest.raises(ValueError, match=message):
        spans(wanted)


def test_phrases_that_are_cut_off(spans):
    text = 'a red star ' * 30 + 'and a heart'
    assert len(spans(None, text)) < 50
    with pytest.raises(ValueError, match="'heart' lies behind the 50 tokens"):
        spans('heart', text)
