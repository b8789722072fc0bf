"""Fusion patterns, and the page on patterns of one's own: its code runs as it stands."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from fiber_mmdet.apis.attention_weights import record_fusion
from fiber_mmdet.models.backbone import Fusion, LockStepFusion, NoFusion, Step, Towers
from image_text_pairs import images, model_cfg, samples

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / 'docs/extending/fusion.md').read_text(encoding='utf-8')
PATTERN, CONFIG, ON_TOP = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
TOWERS = Towers.of(depths=(1, 2, 2), embed_dim=16, num_layers=3, text_dim=32)
EXACT = dict(rtol=0, atol=1e-10)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's modules can be imported; the folder of its config is returned."""
    (tmp_path / 'late_reading.py').write_text(PATTERN)
    (tmp_path / 'reading_on_top.py').write_text(ON_TOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for module in ('late_reading', 'reading_on_top'):
        sys.modules.pop(module, None)
    for name in ('LateReading', 'ReadingOnTop'):
        MODELS.module_dict.pop(name, None)


def pairs(seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 1200, (2, 7), generator=generator)
    ids[1, 4:] = 1
    return torch.randn(2, 3, 64, 64, generator=generator).double(), ids, ids != 1


@pytest.fixture
def backbone(tiny_model_cfg, build):
    """``backbone(fusion)``: a tiny one, in double precision."""

    def make(fusion, **more):
        return build(dict(tiny_model_cfg.backbone, fusion=fusion, **more), torch.float64)

    return make


# ------------------------------------------------------------------ schedules
def test_lock_step():
    fusion = LockStepFusion(TOWERS, 3)
    assert fusion.steps == (Step((1, 1), 0), Step((2, 0), 1), Step((2, 1), 2))
    assert (fusion.image_start, fusion.text_start, fusion.prefix_dim) == (2, 0, 32)
    assert fusion.image_dims == (32, 64, 64) and fusion.out_dims == (32, 64)
    assert fusion.text_readers == {(1, 1), (2, 0), (2, 1)}


def test_short_form(backbone):
    """``num_fused`` is the pattern of the same name, and adds nothing to checkpoints."""
    short, long = backbone(None), backbone(dict(type='LockStepFusion', num_fused=2))
    assert short.fusion.steps == long.fusion.steps and len(short.fusion.steps) == 2
    assert list(short.state_dict()) == list(long.state_dict())
    assert not any('fusion' in key for key in short.state_dict())


def test_sides_may_run_and_read_alone():
    fusion = Fusion(
        TOWERS,
        [
            Step((1, 1), None),
            Step((2, 0), 1, block_reads=False),
            Step((2, 1), None, block_reads=False),
            Step(None, 2),
        ],
    )
    assert (fusion.image_start, fusion.text_start, fusion.prefix_dim) == (2, 1, 32)
    assert fusion.text_readers == {(1, 1)} and fusion.image_dims == (None, 64, 64)


@pytest.mark.parametrize(
    'steps, message',
    [
        ([Step((2, 0), 2)], r'image blocks \[\(2, 0\)\]'),
        ([Step((2, 1), 1)], r'text layers \[1\]'),
        ([Step((2, 1), 1), Step((2, 0), 2)], r'image blocks \[\(2, 1\), \(2, 0\)\]'),
        ([Step(None, 0)] * 4, r'text layers \[0, 0, 0, 0\]'),
    ],
)
def test_steps_run_the_ends_of_the_towers(steps, message):
    with pytest.raises(ValueError, match=message):
        Fusion(TOWERS, steps)


def test_unknown_argument():
    with pytest.raises(TypeError, match="LockStepFusion has no argument 'num_fuse'"):
        LockStepFusion(TOWERS, num_fuse=3)


@torch.no_grad()
def test_a_step_reads_what_it_says(backbone, build):
    """Text reads in the first step only, the image in the second only."""

    class Crossed(Fusion):
        def __init__(self, towers):
            steps = [Step((3, 0), 1, block_reads=False), Step((3, 1), 2, layer_reads=False)]
            super().__init__(towers, steps)

    net = backbone(dict(type=Crossed))
    pixels, ids, mask = pairs()
    image, text, keys = net.encode_image(pixels), net.encode_text(ids, mask), mask[:, None, None]
    first, second = net.image.stages[3].blocks
    x = first(image.tokens)
    t = net.text.layers[1](text.tokens, keys, image=image.tokens.flatten(1, 2))
    x, t = second(x, t, mask), net.text.layers[2](t, keys)
    fused = net.fuse(image, text)
    assert torch.equal(fused.image, x) and torch.equal(fused.text, t)
    assert not hasattr(first, 'text_attention') and hasattr(second, 'text_attention')
    assert not hasattr(net.text.layers[2], 'image_attention')
    with pytest.raises(ValueError, match='Crossed has no step in which both'):
        record_fusion(net, image.select([0]), text.select([0]))


class Uneven(Fusion):
    """Text reads the image in the second of three steps only."""

    def __init__(self, towers):
        steps = [
            Step((2, 1), None),
            Step((3, 0), 1),
            Step((3, 1), 2, layer_reads=False),
        ]
        super().__init__(towers, steps)


@pytest.mark.parametrize(
    'pattern, blocks',
    [
        (dict(type='LockStepFusion', num_fused=3), [(2, 1), (3, 0)]),
        (dict(type=Uneven), [(2, 1)]),
        (dict(type='NoFusion'), []),
        (dict(type='ReadingOnTop'), []),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_text_alone_runs_the_blocks_that_it_depends_on(
    page, backbone, monkeypatch, pattern, blocks
):
    import reading_on_top  # noqa: F401

    net = backbone(pattern)
    image, text = net.encode_image(pairs()[0]), net.encode_text(*pairs()[1:])
    outputs, gradients = [], []
    for function in (lambda *args: net.fuse(*args).text, net.fuse_text):
        net.zero_grad()
        outputs.append(function(image, text))
        outputs[-1].square().sum().backward(retain_graph=True)
        gradients.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
    assert torch.equal(*outputs) and gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name
    seen = []
    end = net.image.end_block
    monkeypatch.setattr(net.image, 'end_block', lambda *args: seen.append(args[:2]) or end(*args))
    net.fuse_text(image, text)
    assert seen == blocks
    with pytest.raises(ValueError, match='1 images but 3 texts'):
        net.fuse_text(image.select([0]), text.select([0, 1, 0]))


@torch.no_grad()
def test_no_fusion(backbone):
    net = backbone(dict(type='NoFusion'))
    assert not any('_attention.gate' in name for name, _ in net.named_parameters())
    pixels, ids, mask = pairs()
    image, text = net.encode_image(pixels), net.encode_text(ids, mask)
    fused, (pyramid, x) = net.fuse(image, text), net.finish_image(image)
    assert all(torch.equal(a, b) for a, b in zip([*fused.pyramid, fused.image], [*pyramid, x]))
    assert torch.equal(fused.text, net.finish_text(text))
    assert NoFusion(TOWERS).prefix_dim == 64 and NoFusion(TOWERS).image_dims == (None,) * 3


@pytest.mark.parametrize('pattern', ['NoFusion', 'ReadingOnTop'])
def test_towers_of_a_fused_model_start_another_pattern(page, backbone, tmp_path, pattern):
    import reading_on_top  # noqa: F401

    fused = backbone(dict(type='LockStepFusion', num_fused=2))
    state = {f'backbone.{key}': value.float() for key, value in fused.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'fused.pth')
    net = backbone(dict(type=pattern), pretrained=dict(towers=str(tmp_path / 'fused.pth')))
    net.init_weights()
    found = net.state_dict()
    assert all(
        'fusion.' in key or torch.equal(found[key], state['backbone.' + key]) for key in found
    )


def test_captions_need_layers_that_read():
    cfg = model_cfg(dict(caption=dict(type='CaptionHead')))
    cfg.backbone.fusion = dict(type='NoFusion')
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(ValueError, match='NoFusion'):
            MODELS.build(cfg)


# ----------------------------------------------------------------------- taps
class Bridges(Fusion):
    """Adds the mean of the last three maps, taken per image, to the words."""

    def __init__(self, towers):
        super().__init__(towers)
        self.out_dims = (towers.text_dim, 5)

    def tap_image(self, stage, index, x):
        return x.mean((1, 2, 3)) if stage >= 2 else None

    def tap_text(self, layer, x):
        return x[..., 0] if layer else None

    def on_top(self, fused, image, text, run):
        x = fused.text + sum(image.taps)[:, None, None] + sum(text.taps)[..., None]
        return fused._replace(text=x, image=fused.image[..., :5])


@torch.no_grad()
def test_taps_travel_with_the_prefixes(backbone):
    net = backbone(dict(type=Bridges))
    pixels, ids, mask = pairs()
    whole = net(pixels, ids, mask)
    assert whole.image.shape[-1] == net.fusion.out_dims[1] == 5
    parts = [
        (net.encode_image(pixels[i : i + 1]), net.encode_text(ids[i : i + 1], mask[i : i + 1]))
        for i in range(2)
    ]
    assert len(parts[0][0].taps) == 4 and len(parts[0][1].taps) == 2
    images, texts = (type(side[0]).cat(side) for side in zip(*parts))
    for order in ([0, 1], [1, 0], [1, 1]):
        found = net.fuse(images.select(order), texts.select(order))
        length = found.text.shape[1]
        torch.testing.assert_close(found.image, whole.image[order], **EXACT)
        torch.testing.assert_close(
            found.text[found.mask], whole.text[order][:, :length][found.mask], **EXACT
        )
    half = images.to(dtype=torch.float32), texts.to(dtype=torch.float32)
    assert all(tap.dtype == torch.float32 for side in half for tap in side.taps)


# ------------------------------------------------------------------- the page
def tiny_model(cfg):
    tiny = model_cfg(cfg.model.heads)
    tiny.backbone.fusion = cfg.model.backbone.fusion
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(tiny)


def test_example(page):
    shutil.copytree(CHECKOUT / 'configs', page / 'configs')
    file = page / 'configs/scenes/mine.py'
    file.write_text(CONFIG)
    cfg = Config.fromfile(file)
    assert cfg.load_from is None  # what the base starts from is not there
    model = tiny_model(cfg).train()
    blocks = [(2, 1), (3, 0), (3, 1)]
    assert [step.block for step in model.backbone.fusion.steps] == blocks
    assert model.backbone.fusion.image_dims == (None, None, 128, 128)
    gates = {name for name, _ in model.named_parameters() if name.endswith('.gate')}
    assert gates == {
        *(f'backbone.image.stages.{s}.blocks.{b}.text_attention.gate' for s, b in blocks),
        *(f'backbone.text.layers.{i}.image_attention.gate' for i in (2, 3)),
    }
    losses = model(dict(image=images(4)), samples(4), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert {'loss_mlm', 'loss_itc', 'loss_itm'} <= set(losses)
    assert all(p.grad is not None for name, p in model.named_parameters() if name in gates)


def test_layers_on_top(page, backbone):
    import reading_on_top  # noqa: F401

    net = backbone(dict(type='ReadingOnTop'), with_cp=True)
    own = {name for name, _ in net.named_parameters() if name.startswith('fusion.')}
    assert own and not any(name.endswith('.gate') for name, _ in net.named_parameters())
    pixels, ids, mask = pairs()
    image, text = net.encode_image(pixels), net.encode_text(ids, mask)
    fused, cells = net.fuse(image, text), net.finish_image(image)[1].flatten(1, 2)
    x = net.finish_text(text)
    for layer in net.fusion.layers:
        x = layer(x, cells)
    assert torch.equal(fused.text, x)
    swapped = net.fuse(image.select([1, 0]), text)
    assert (swapped.text - fused.text).abs().max() > 1e-3
    calls = []
    net.fusion.layers[0].register_forward_pre_hook(lambda *args: calls.append(args))
    net.train()(pixels, ids, mask).text.sum().backward()
    assert len(calls) == 2  # once more in the backward pass
    assert all(dict(net.named_parameters())[name].grad is not None for name in own)


def test_layers_on_top_are_trained_and_sharded_as_part_of_the_fusion(page):
    import reading_on_top  # noqa: F401

    from fiber_mmdet.engine import ImageTextOptimWrapperConstructor
    from fiber_mmdet.engine.sharding import UNITS

    cfg = Config(
        dict(
            model=dict(
                heads=dict(itm=dict(type='ITMHead')),
                backbone=dict(fusion=dict(type='ReadingOnTop')),
            )
        )
    )
    model = tiny_model(cfg)
    make = ImageTextOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1)),
        dict(lr_mult_cross_modal=5.0),
    )
    groups = make(model).optimizer.param_groups
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    own = [p for name, p in model.named_parameters() if name.startswith('backbone.fusion.')]
    assert own and {rates[id(p)] for p in own} == {5.0}
    assert [isinstance(layer, UNITS) for layer in model.backbone.fusion.layers] == [True, True]
    assert not isinstance(model.backbone.fusion, UNITS)


def test_page_names_what_there_is():
    rows = PAGE.partition('| user |')[2].partition('\n\n')[0].splitlines()
    cells = [row.split('|')[2].partition('nothing:')[0] for row in rows[2:]]
    names = {name for cell in cells for name in re.findall(r'`(\w+)`', cell)}
    fusion = LockStepFusion(TOWERS, 2)
    assert len(names) >= 7 and all(hasattr(fusion, name) for name in names)
