"""The fused backbone: the order of the fused steps, prefixes, windows, freezing, errors."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import nn

from fiber_mmdet.models import FIBERBackbone, GatedCrossAttention
from fiber_mmdet.models.backbone.image_tower import PatchEmbed, PatchMerging
from fiber_mmdet.models.backbone.text_tower import TextTower
from fiber_mmdet.models.backbone.windows import (
    SeamPlan,
    WindowAttention,
    relative_position_index,
    window_partition,
    window_reverse,
)

# Everything runs in double precision, where equal means equal.
EXACT = dict(rtol=0, atol=1e-10)


@pytest.fixture
def cfg(tiny_model_cfg):
    """Three fused steps, of which one lies before the last merging, and one unfused text layer."""
    cfg = tiny_model_cfg.backbone
    cfg.text.num_layers = 4
    cfg.num_fused = 3
    return cfg


@pytest.fixture
def net(cfg, build):
    return build(cfg, torch.float64)


def images(count=2, size=(64, 96), seed=1):
    return torch.randn(
        count, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def texts(lengths=(7, 4), padded=None):
    generator = torch.Generator().manual_seed(2)
    ids = torch.ones(len(lengths), padded or max(lengths), dtype=torch.long)
    for row, length in zip(ids, lengths):
        row[:length] = torch.randint(4, 1200, (length,), generator=generator)
    return ids, ids != 1


def assert_same(found, expected, rows=slice(None)):
    """Fused outputs agree; text only where both have tokens."""
    for a, b in zip([*found.pyramid, found.image], [*expected.pyramid, expected.image]):
        torch.testing.assert_close(a, b[rows], **EXACT)
    length = min(found.mask.shape[1], expected.mask.shape[1])
    assert torch.equal(found.mask[:, :length], expected.mask[rows, :length])
    real = found.mask[:, :length]
    torch.testing.assert_close(
        found.text[:, :length][real], expected.text[rows, :length][real], **EXACT
    )


def differ(a, b):
    return (a - b).abs().max() > 1e-3


# -------------------------------------------------------------- the fused tail
def run_by_hand(net, images, ids, mask, text_first=False):
    """The fused steps spelt out; ``text_first`` makes the mistake of updating one side first."""
    prefix = net.encode_image(images)
    x, t = prefix.tokens, net.encode_text(ids, mask).tokens
    pyramid, keys = dict(prefix.pyramid), mask[:, None, None]
    for (stage, i), layer in zip(net.image.schedule[3:], net.text.layers[1:]):
        block, old_t = net.image.stages[stage].blocks[i], t
        h = layer.attention(t, keys)
        h = layer.attention_norm(h + layer.image_attention(h, x.flatten(1, 2)) + t)
        t = layer.ffn_norm(layer.ffn(h) + h)
        a = block.attn(block.norm1(x))
        read = block.text_attention(a.flatten(1, 2), t if text_first else old_t, mask)
        x = x + a + read.view_as(a)
        x = x + block.mlp(block.norm2(x))
        x = net.image.end_block(stage, i, x, pyramid)
    return [pyramid[1], pyramid[2], pyramid[3], x, t[mask]]


def test_both_sides_read_the_values_from_before_the_step(net):
    ids, mask = texts()
    fused = net(images(), ids, mask)
    found = [*fused.pyramid, fused.image, fused.text[mask]]
    for a, b in zip(found, run_by_hand(net, images(), ids, mask)):
        torch.testing.assert_close(a, b, **EXACT)
    mistaken = run_by_hand(net, images(), ids, mask, text_first=True)
    assert differ(found[2], mistaken[2]) and differ(found[4], mistaken[4])


def test_forward_is_fuse_of_the_prefixes(net):
    ids, mask = texts()
    assert_same(
        net(images(), ids, mask), net.fuse(net.encode_image(images()), net.encode_text(ids, mask))
    )


def test_one_image_under_many_prompts(net):
    ids, mask = texts((7, 4, 9))
    image, text = net.encode_image(images(1)), net.encode_text(ids, mask)
    together = net.fuse(image.select([0, 0, 0]), text.select([0, 1, 2]))
    for i in range(3):
        alone = net(images(1), ids[i : i + 1, : mask[i].sum()], mask[i : i + 1, : mask[i].sum()])
        assert_same(alone, together, [i])
    assert differ(together.pyramid[2][0], together.pyramid[2][1])


def test_many_images_under_one_prompt(net):
    ids, mask = texts((7, 4))
    image, text = net.encode_image(images(3)), net.encode_text(ids, mask)
    chosen = text.select([1, 1, 1])
    assert chosen.tokens.shape[1] == 4
    together = net.fuse(image, chosen)
    for i in range(3):
        assert_same(net(images(3)[i : i + 1], ids[1:], mask[1:]), together, [i])
    assert differ(together.text[0], together.text[1])
    assert_same(net.fuse(image.select([2, 0]), text.select([1, 1])), together, [2, 0])


def test_unequal_numbers_of_images_and_texts_are_refused(net):
    with pytest.raises(ValueError, match=r'3 images but 2 texts.*\.select'):
        net.fuse(net.encode_image(images(3, (32, 32))), net.encode_text(*texts()))


def test_padding_of_the_text_changes_nothing(net):
    assert_same(net(images(), *texts()), net(images(), *texts(padded=23)))


def test_closed_gates_leave_the_unimodal_towers(cfg, net):
    def tails(net):
        ids, mask = texts()
        image, text = net.encode_image(images()), net.encode_text(ids, mask)
        pyramid, x = net.finish_image(image)
        fused = net.fuse(image, text)
        found = [*fused.pyramid, fused.image, fused.text]
        return found, [*pyramid, x, net.finish_text(text)]

    fused, unimodal = tails(net)
    assert not differ(fused[0], unimodal[0])  # this level is complete before the first fused block
    assert all(differ(a, b) for a, b in zip(fused[1:], unimodal[1:]))
    fresh = MODELS.build(cfg).double().eval()
    fresh.init_weights()
    fused, unimodal = tails(fresh)
    assert all(torch.equal(a, b) for a, b in zip(fused, unimodal))


def test_last_text_norm(cfg, net, build):
    cfg.last_text_norm = False
    bare = build(cfg, torch.float64)
    ids, mask = texts()
    with_norm, without = net(images(), ids, mask), bare(images(), ids, mask)
    assert differ(with_norm.text, without.text)
    normed = without._replace(text=bare.text.layers[-1].ffn_norm(without.text))
    assert_same(normed, with_norm)
    prefix = net.encode_text(ids, mask)
    torch.testing.assert_close(bare.finish_text(prefix), net.finish_text(prefix), **EXACT)


def test_prompt_rows_are_added_by_position(cfg, net, build):
    cfg.text.prompt_rows = 8
    tuned = build(cfg, torch.float64)
    tuned.load_state_dict(net.state_dict(), strict=False)
    ids, mask = texts()
    torch.testing.assert_close(
        tuned.text.embed(ids), net.text.embed(ids) + tuned.text.prompt_rows[:7], **EXACT
    )
    with torch.no_grad():
        tuned.text.prompt_rows.zero_()
    assert_same(tuned(images(), ids, mask), net(images(), ids, mask))
    with pytest.raises(ValueError, match='text of 9 tokens but only 8 prompt_rows'):
        tuned.encode_text(*texts((9,)))


def test_prompt_rows_start_at_zero(cfg):
    cfg.text.prompt_rows = 8
    net = MODELS.build(cfg)
    net.init_weights()
    assert not net.text.prompt_rows.any() and net.text.prompt_rows.requires_grad


@pytest.mark.parametrize('dim, num_heads, length', [(128, 4, 200), (768, 12, 60)])
def test_text_attention_starts_among_neighbours(dim, num_heads, length):
    torch.manual_seed(0)
    tower = TextTower(2, dim, num_heads, 4 * dim, vocab_size=300, dropout=0.0, image_dims=())
    tower.init_weights()
    attention = tower.layers[0].attention
    x = tower.embed(torch.randint(2, 300, (1, length)))
    assert x[..., : dim // 2].std().item() == pytest.approx(1, abs=0.1)
    assert x[..., dim // 2 :].std().item() == pytest.approx(1, abs=0.1)
    query, key = (
        layer(x).view(length, num_heads, -1).transpose(0, 1)
        for layer in (attention.query, attention.key)
    )
    weights = (query @ key.mT / (dim // num_heads) ** 0.5).softmax(-1).mean(0)
    near = sum(weights.diagonal(k)[5:-5].mean().item() for k in range(-2, 3))
    assert near > 0.9
    assert all(weights.diagonal(k).mean() > 0.1 for k in (-1, 1))


# ------------------------------------------------------------ cross-attention
def cross_attention_by_hand(module, x, context, mask=None):
    """Head by head, row by row."""
    query, dim = module.query(module.query_norm(x)), x.shape[-1] // module.num_heads
    key, value = module.key(context), module.value(context)
    out = torch.zeros_like(query)
    for i in range(len(x)):
        seen = slice(None) if mask is None else mask[i]
        for h in range(module.num_heads):
            part = slice(h * dim, (h + 1) * dim)
            weights = (query[i, :, part] @ key[i, seen, part].T / dim**0.5).softmax(-1)
            out[i, :, part] = weights @ value[i, seen, part]
    return module.gate * module.proj(out)


@pytest.mark.parametrize('query_norm', [False, True])
def test_cross_attention(build, query_norm):
    module = build(GatedCrossAttention(16, 12, 4, query_norm=query_norm), torch.float64)
    x, context = torch.randn(2, 5, 16).double(), torch.randn(2, 7, 12).double()
    mask = torch.arange(7) < torch.tensor([[7], [3]])
    for m in (None, mask):
        torch.testing.assert_close(
            module(x, context, m), cross_attention_by_hand(module, x, context, m), **EXACT
        )


def test_cross_attention_over_positions_equals_that_in_windows(build):
    """The reference repeats the text for every window of the padded map."""
    module = build(GatedCrossAttention(16, 12, 4), torch.float64)
    x, text = torch.randn(2, 6, 7, 16).double(), torch.randn(2, 5, 12).double()
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    windows = window_partition(F.pad(x, (0, 0, 0, 1, 0, 2)), 4)
    read = module(windows, text.repeat_interleave(4, 0), mask.repeat_interleave(4, 0))
    read = window_reverse(read, 4, (8, 8))[:, :6, :7]
    torch.testing.assert_close(module(x.flatten(1, 2), text, mask).view_as(x), read, **EXACT)


@pytest.mark.parametrize('asked', [False, True])
def test_query_norm_exists_only_when_asked(cfg, asked):
    net = FIBERBackbone(image=cfg.image, text=cfg.text, num_fused=3, i2t_norm=asked)
    found = {name for name, _ in net.named_parameters() if 'query_norm' in name}
    blocks = ['2.blocks.1', '3.blocks.0', '3.blocks.1'] if asked else []
    assert found == {
        f'image.stages.{b}.text_attention.query_norm.{p}'
        for b in blocks
        for p in ('weight', 'bias')
    }


def test_cross_attention_exists_only_in_the_fused_part(net):
    owners = {
        name for name, module in net.named_modules() if isinstance(module, GatedCrossAttention)
    }
    assert owners == {
        *(f'image.stages.{b}.text_attention' for b in ('2.blocks.1', '3.blocks.0', '3.blocks.1')),
        *(f'text.layers.{i}.image_attention' for i in (1, 2, 3)),
    }
    dims = [layer.image_attention.key.in_features for layer in net.text.layers[1:]]
    assert dims == [64, 128, 128]


# -------------------------------------------------------------------- windows
def naive_window_attention(module, x, shift):
    """Position by position: who shares my rolled window and was not rolled in from elsewhere?"""
    b, h, w, dim = x.shape
    win, heads = module.window, module.num_heads
    x = F.pad(x, (0, 0, 0, -w % win, 0, -h % win))
    rows, cols = x.shape[1:3]
    query, key, value = (part.unflatten(-1, (heads, -1)) for part in module.qkv(x).split(dim, -1))
    out = torch.zeros(b, h, w, heads, dim // heads, dtype=x.dtype)

    def region(y, x):
        return ((y - shift) % rows // win, (x - shift) % cols // win, y < shift, x < shift)

    for y in range(h):
        for x_ in range(w):
            seen = [
                (i, j) for i in range(rows) for j in range(cols) if region(i, j) == region(y, x_)
            ]
            i, j = (torch.tensor(axis) for axis in zip(*seen))
            row = (y - i + win - 1) * (2 * win - 1) + (x_ - j + win - 1)
            bias = module.relative_position_bias_table[row]  # (keys, heads)
            logits = torch.einsum('bhd,bkhd->bkh', query[:, y, x_], key[:, i, j])
            weights = (logits * (dim // heads) ** -0.5 + bias).softmax(1)
            out[:, y, x_] = torch.einsum('bkh,bkhd->bhd', weights, value[:, i, j])
    return module.proj(out.flatten(-2))


@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize('size', [(8, 8), (6, 9), (4, 4), (3, 2)])
def test_window_attention(build, size, shift):
    module = build(WindowAttention(8, 2, window=4, shift=shift), torch.float64)
    x = torch.randn(2, *size, 8).double()
    expected = naive_window_attention(module, x, shift)
    torch.testing.assert_close(module(x), expected, **EXACT)
    if shift:
        assert differ(expected, naive_window_attention(module, x, 0))


@pytest.mark.parametrize('size, shifted', [((4, 4), False), ((3, 4), False), ((4, 5), True)])
def test_image_text_model_does_not_shift_a_map_of_one_window(build, size, shifted):
    module = build(WindowAttention(8, 2, window=4, shift=2, always_shift=False), torch.float64)
    x = torch.randn(1, *size, 8).double()
    expected = naive_window_attention(module, x, 2 if shifted else 0)
    torch.testing.assert_close(module(x), expected, **EXACT)


def test_shift_rule_reaches_the_blocks(cfg):
    cfg.image.update(depths=(1, 2, 3, 2), always_shift=False)
    net = MODELS.build(cfg)
    blocks = [net.image.stages[s].blocks[b] for s, b in net.image.schedule]
    assert [block.attn.shift for block in blocks] == [0, 0, 2, 0, 2, 0, 0, 2]
    assert not any(block.attn.always_shift for block in blocks)


def test_drop_path_rises_over_all_blocks(cfg):
    cfg.image.update(drop_path=0.5)
    net = MODELS.build(cfg)
    rates = [net.image.stages[s].blocks[b].drop_path.drop_prob for s, b in net.image.schedule]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_relative_position_index():
    index = relative_position_index(2)
    # positions 0 1 / 2 3; row of the table = (dy + 1) * 3 + dx + 1
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    index = relative_position_index(12)
    assert index.shape == (144, 144) and (index.min(), index.max()) == (0, 528)


def test_patch_merging_order():
    merge = PatchMerging(1)
    merge.norm = merge.reduction = nn.Identity()
    x = torch.tensor([[0.0, 1, 2], [10, 11, 12], [20, 21, 22]])[None, :, :, None]
    merged = merge(x)[0]
    assert merged[0, 0].tolist() == [0, 10, 1, 11]
    assert merged[0, 1].tolist() == [2, 12, 0, 0]
    assert merged[1].tolist() == [[20, 0, 21, 0], [22, 0, 0, 0]]


def test_odd_sizes_are_padded_at_the_right_and_bottom(net):
    odd = images(1, (70, 53))
    ids, mask = texts((5,))
    fused = net(odd, ids, mask)
    assert [tuple(level.shape) for level in fused.pyramid] == [
        (1, 32, 9, 7),
        (1, 64, 5, 4),
        (1, 128, 3, 2),
    ]
    assert fused.image.shape == (1, 3, 2, 128)
    assert_same(net(F.pad(odd, (0, 3, 0, 2)), ids, mask), fused)


def test_patch_embedding_pads_with_zeros():
    embed = PatchEmbed(8).double()
    odd = images(1, (9, 5))
    assert embed(odd).shape == (1, 3, 2, 8)
    torch.testing.assert_close(embed(odd), embed(F.pad(odd, (0, 3, 0, 3))), **EXACT)


# ------------------------------------------------------ training and freezing
def train_step(cfg, build):
    """Gradients of one step, and how often each block and text layer was entered."""
    net, calls = build(cfg, torch.float64).train(), Counter()
    for name, module in net.named_modules():
        if name.split('.')[-2:-1] in (['blocks'], ['layers']):
            module.register_forward_pre_hook(lambda *args, name=name: calls.update([name]))
    torch.manual_seed(3)
    fused = net(images(2, (32, 32)), *texts())
    (fused.text.square().sum() + sum(level.square().sum() for level in fused.pyramid)).backward()
    return {name: p.grad for name, p in net.named_parameters()}, calls


def test_checkpointing_recomputes_and_gives_the_same_gradients(cfg, build):
    cfg.image.drop_path, cfg.text.dropout = 0.3, 0.1
    plain, once = train_step(cfg, build)
    cfg.with_cp = True
    saved, twice = train_step(cfg, build)
    assert len(once) == 10 and set(once.values()) == {1}
    assert set(twice) == set(once) and set(twice.values()) == {2}
    for name, grad in plain.items():
        assert grad is not None, name
        torch.testing.assert_close(saved[name], grad, **EXACT, msg=name)


@pytest.mark.parametrize(
    'frozen_stages, expected',
    [
        (-1, []),
        (0, ['image.patch_embed.']),
        (1, ['image.patch_embed.', 'image.stages.0.']),
        (2, ['image.patch_embed.', 'image.stages.0.', 'image.stages.1.', 'image.out_norms.1.']),
    ],
)
def test_frozen_stages(cfg, frozen_stages, expected):
    cfg.frozen_stages = frozen_stages
    cfg.image.drop_path = 0.3
    net = MODELS.build(cfg)
    net.eval().train()
    frozen = tuple(expected)
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (not name.startswith(frozen) if frozen else True), name
    for name, module in net.named_modules():
        if name and not name.startswith('image.out_norms') and name != 'image':
            inside = bool(frozen) and f'{name}.'.startswith(frozen)
            assert module.training != inside, name
    net.train(False)
    assert not any(module.training for module in net.modules())


# ----------------------------------------------------- towers trained from scratch
def test_absolute_positions(cfg, build):
    """A vector at each place, interpolated for maps of other sizes, frozen with the patches."""
    plain = build(cfg, torch.float64)
    cfg.image.position_side, cfg.frozen_stages = 16, 0
    net = build(cfg, torch.float64)
    new = set(net.state_dict()) - set(plain.state_dict())
    assert new == {'image.position_embed.table'}
    table = net.image.position_embed.table
    assert table.shape == (1, 16, 16, 16) and not table.requires_grad
    assert 'image.position_embed' in net.image_prefix_modules()
    with torch.no_grad():
        table.normal_()
        pixels = images(size=(64, 64))
        torch.testing.assert_close(
            net.image.embed(pixels), net.image.patch_embed(pixels) + table, **EXACT
        )
        assert torch.equal(plain.image.embed(pixels), plain.image.patch_embed(pixels))
        table.copy_(torch.arange(16.0)[None, None, :, None].expand_as(table))
        wide = images(size=(32, 128))
        added = net.image.embed(wide) - net.image.patch_embed(wide)
    assert added.shape == (2, 8, 32, 16) and (added - added[:1, :1, :, :1]).abs().max() < 1e-5
    assert added[0, 0, 4, 0] < added[0, 0, 16, 0] < added[0, 0, 28, 0]


def test_gain_of_narrow_towers(cfg):
    for gain, expected in ((None, 0.02), (1.0, 128**-0.5)):
        cfg.image.init_gain = gain
        net = MODELS.build(cfg)
        net.init_weights()
        weights = net.image.stages[3].blocks[0].mlp.fc1.weight
        assert weights.shape[1] == 128
        assert weights.std().item() == pytest.approx(expected, rel=0.1)


# --------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    'part, name, message',
    [
        (
            None,
            'frozen_stage',
            "FIBERBackbone has no argument 'frozen_stage'. Did you mean "
            "'frozen_stages'? Known arguments: image, text, num_fused",
        ),
        (
            'image',
            'embed_dims',
            "ImageTower has no argument 'embed_dims'. Did you mean 'embed_dim'?",
        ),
        ('text', 'xyz', "TextTower has no argument 'xyz'. Known arguments: num_layers"),
    ],
)
def test_unknown_argument_is_named_with_a_suggestion(cfg, part, name, message):
    (cfg[part] if part else cfg)[name] = 1
    with pytest.raises(TypeError) as error:
        MODELS.build(cfg)
    assert message in str(error.value)


@pytest.mark.parametrize('num_fused', [0, 5, 7])
def test_more_fused_steps_than_blocks_or_layers(cfg, num_fused):
    cfg.num_fused = num_fused  # 6 image blocks, 4 text layers
    with pytest.raises(
        ValueError,
        match=rf'num_fused={num_fused} must lie between 1 and.*'
        r'image blocks \(6, .*\) and of text layers \(text.num_layers=4\)',
    ):
        MODELS.build(cfg)


def test_stages_and_heads_must_agree():
    with pytest.raises(ValueError, match=r'depths=\[2, 2\] has 2 stages, and .*num_heads=\[4\] 1'):
        FIBERBackbone(image=dict(depths=(2, 2), num_heads=(4,)), num_fused=2)


def test_maps_first_seen_in_inference_can_be_trained_on():
    """What is kept of a size must not be an inference tensor."""
    SeamPlan.of.cache_clear()
    layer = WindowAttention(8, 2, window=4, shift=2)
    x = torch.randn(1, 8, 12, 8)
    with torch.inference_mode():
        expected = layer(x)
    found = layer(x)
    found.sum().backward()
    torch.testing.assert_close(found, expected.clone())
    assert layer.relative_position_bias_table.grad.abs().sum() > 0
    assert SeamPlan.of.cache_info().misses == 1
