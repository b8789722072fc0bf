"""The fusion encoder: an alternative to the fusion in the backbone, on top of the towers."""

import re

import pytest
import torch

from config_files import build_on_meta, load
from fiber_mmdet.engine import ImageTextOptimWrapperConstructor
from fiber_mmdet.engine.sharding import UNITS
from fiber_mmdet.models.backbone import FusionEncoder, Towers
from fiber_mmdet.models.backbone.fusion import CROSS_MODAL
from image_text_pairs import build_model, images, model_cfg, samples

ENCODER = dict(type='FusionEncoder', num_layers=2, dim=24, num_heads=3, ffn_dim=40, dropout=0.0)
TOWERS = Towers.of(depths=(1, 2, 2), embed_dim=16, num_layers=3, text_dim=32)


@pytest.fixture
def backbone(tiny_model_cfg, build):
    return build(dict(tiny_model_cfg.backbone, fusion=ENCODER, with_cp=True), torch.float64)


def pairs():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 1200, (2, 7), generator=generator)
    ids[1, 4:] = 1
    return torch.randn(2, 3, 64, 64, generator=generator).double(), ids, ids != 1


def attend(layer, x, context, mask):
    """``softmax(q k^T / sqrt(d)) v`` of several heads, position by position."""
    heads = layer.num_heads
    q, k, v = (
        part(of).unflatten(-1, (heads, -1))
        for part, of in ((layer.query, x), (layer.key, context), (layer.value, context))
    )
    scores = torch.einsum('bnhd,bmhd->bhnm', q, k) / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask[:, None, None], -1e9).softmax(-1)
    return layer.proj(torch.einsum('bhnm,bmhd->bnhd', weights, v).flatten(2))


def half(layer, x, mask, context, context_mask):
    """One half of a layer, written out."""
    normed = layer.attention_norm(x)
    x = x + attend(layer.attention, normed, normed, mask)
    cross = layer.cross_attention
    read = attend(cross, cross.query_norm(x), layer.context_norm(context), context_mask)
    x = x + cross.gate * read
    return x + layer.ffn(layer.ffn_norm(x))


@torch.no_grad()
def test_layers_read_what_was_before_them(backbone):
    encoder, (pixels, ids, mask) = backbone.fusion, pairs()
    image, text = backbone.encode_image(pixels), backbone.encode_text(ids, mask)
    fused, plain = backbone.fuse(image, text), backbone.finish_image(image)
    cells = plain[1].flatten(1, 2)
    seen = torch.ones(cells.shape[:2], dtype=torch.bool)
    x = encoder.image_proj(encoder.image_in_norm(cells))
    t = encoder.text_proj(backbone.finish_text(text))
    for one, other in zip(encoder.image_layers, encoder.text_layers):
        x, t = half(one, x, seen, t, mask), half(other, t, mask, x, seen)
    assert fused.image.shape == (*plain[1].shape[:3], 24) and fused.text.shape == (2, 7, 24)
    torch.testing.assert_close(fused.image.flatten(1, 2), encoder.image_norm(x))
    torch.testing.assert_close(fused.text, encoder.text_norm(t))
    assert all(torch.equal(a, b) for a, b in zip(fused.pyramid, plain[0]))


@torch.no_grad()
def test_masked_tokens_are_not_read(backbone):
    pixels, ids, mask = pairs()
    found = backbone(pixels, ids, mask)
    ids[1, 4:] = torch.tensor([7, 8, 9])  # behind the mask
    other = backbone(pixels, ids, mask)
    assert torch.equal(found.image, other.image)
    assert torch.equal(found.text[mask], other.text[mask])
    alone = backbone(pixels[1:], ids[1:, :4], mask[1:, :4])
    torch.testing.assert_close(alone.image, found.image[1:])
    torch.testing.assert_close(alone.text, found.text[1:, :4])


def test_gradients_reach_everything_and_recomputing_changes_none(backbone):
    gradients = []
    for recomputed in (True, False):
        backbone.zero_grad()
        backbone.train().with_cp = recomputed
        calls = []
        hook = backbone.fusion.text_layers[0].register_forward_pre_hook(
            lambda *args, calls=calls: calls.append(args)
        )
        fused = backbone(*pairs())
        (fused.image.square().sum() + fused.text[pairs()[2]].square().sum()).backward()
        hook.remove()
        assert len(calls) == 1 + recomputed
        named = {n: p.grad for n, p in backbone.named_parameters() if n.startswith('fusion.')}
        # keys differ by the same amount for all, which a softmax does not see
        assert all(g is not None for g in named.values())
        assert all(g.abs().max() > 1e-12 for n, g in named.items() if not n.endswith('key.bias'))
        gradients.append(named)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-12)


def test_a_model_trains_shards_and_loads_with_it():
    model = build_model(
        dict(
            model_cfg(dict(vqa=dict(type='VQAHead', num_answers=3))),
            backbone=dict(model_cfg({}).backbone, fusion=ENCODER),
        )
    )
    model.init_weights()
    encoder = model.backbone.fusion
    gates = [p for name, p in encoder.named_parameters() if name.endswith('.gate')]
    assert len(gates) == 4 and all(gate.item() == 1 for gate in gates)
    assert model.fused.text_proj.in_features == model.fused.image_proj.in_features == 24
    answers = dict(answer_labels=[[0], [1], [2], [0]], answer_scores=[[1.0]] * 4)
    losses = model(dict(image=images(4)), samples(4, **answers), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert all(gate.grad is not None for gate in gates)
    assert all(isinstance(x, UNITS) for x in (*encoder.image_layers, *encoder.text_layers))
    make = ImageTextOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1)),
        dict(lr_mult_cross_modal=5.0),
    )
    groups = make(model).optimizer.param_groups
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    assert {rates[id(p)] for p in encoder.parameters()} == {5.0}


@pytest.mark.parametrize(
    'sizes, message',
    [(dict(num_layers=0), 'num_layers=0'), (dict(dim=20, num_heads=3), 'dim=20.*num_heads=3')],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        FusionEncoder(TOWERS, **sizes)


def test_sizes_of_the_comparison():
    """On top of the towers there is as much to train as in FIBER's cross-attention, within 5 %."""
    counts = {}
    for pattern in ('', '_no_fusion', '_on_top'):
        model = build_on_meta(load(f'scenes/fiber_mini_scenes_short_vqa{pattern}.py').model)
        counts[pattern] = [
            sum(p.numel() for n, p in model.backbone.named_parameters() if of(n))
            for of in (_crosses, lambda name: not _crosses(name))
        ]
    (own, towers), none, (on_top, same) = counts.values()
    assert none == [0, towers] and same == towers
    assert abs(on_top / own - 1) < 0.05


def _crosses(name):
    return re.fullmatch(CROSS_MODAL, f'backbone.{name}') is not None
