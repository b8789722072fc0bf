"""Mixed precision: what is rounded, what is not, and how far losses move."""

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2d
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.dataset import pseudo_collate
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from fiber_mmdet.engine import precision
from fiber_mmdet.engine.precision import Bf16OptimWrapper
from toy_runs import OneScene, Toy, run


def step(detector, wrapper_type, **more):
    """Losses and gradients of one training step that does not move the weights."""
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.0)
    wrapper = OPTIM_WRAPPERS.build(dict(type=wrapper_type, optimizer=optimizer, **more))
    grads = {}
    zero_grad = wrapper.zero_grad

    def keep(**kwargs):
        grads.update({n: p.grad.clone() for n, p in detector.named_parameters()})
        zero_grad(**kwargs)

    wrapper.zero_grad = keep
    data = pseudo_collate([OneScene()[0], OneScene()[1]])
    losses = detector.train().train_step(data, wrapper)
    return {name: float(value) for name, value in losses.items()}, grads


@pytest.fixture(autouse=True)
def any_cpu_has_bfloat16(monkeypatch):
    monkeypatch.setattr(precision, 'has_bfloat16_products', lambda device: True)


def test_a_cpu_that_imitates_bfloat16_computes_in_float32(detector, monkeypatch):
    said = []
    monkeypatch.setattr(precision, 'has_bfloat16_products', lambda device: False)
    monkeypatch.setattr(precision, 'print_log', lambda text, *args: said.append(text))
    expected, _ = step(detector, 'OptimWrapper')
    found, _ = step(detector, 'MixedPrecisionOptimWrapper')
    assert found == expected
    assert len(said) == 1 and 'bfloat16' in said[0] and 'float32' in said[0]


@pytest.fixture
def detector(tiny_model_cfg, build):
    return build(tiny_model_cfg)


@pytest.mark.parametrize('name', ['Bf16OptimWrapper', 'MixedPrecisionOptimWrapper'])
def test_losses_are_close_to_those_of_full_precision(detector, name):
    expected, exact = step(detector, 'OptimWrapper')
    found, rounded = step(detector, name)
    assert found.keys() == expected.keys()
    for key in expected:
        assert found[key] == pytest.approx(expected[key], rel=0.03)
        assert found[key] != expected[key]
    assert exact.keys() == rounded.keys()
    for key, grad in rounded.items():
        assert grad.dtype == torch.float32 and grad.isfinite().all(), key
    whole = [
        torch.cat([grads[key].double().flatten() for key in exact]) for grads in (exact, rounded)
    ]
    assert torch.cosine_similarity(*whole, dim=0) > 0.97


def test_what_stays_in_full_precision(detector, monkeypatch):
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.setdefault(name, set()).update(
            x.dtype for x in (*inputs, output) if torch.is_tensor(x)
        )

    for name, module in detector.named_modules():
        if isinstance(module, ModulatedDeformConv2d):
            module.register_forward_hook(note('deformable'))
        elif name.startswith('neck.fpn_convs') and isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, i, output: seen.setdefault('pyramid', set()).add(output.dtype)
            )
    for part in ('loss_token', 'loss_bbox', 'loss_centerness'):
        getattr(detector.bbox_head, part).register_forward_hook(note(part))
    step(detector, 'Bf16OptimWrapper')
    assert seen.pop('pyramid') == {torch.bfloat16}
    assert len(seen) == 4 and all(dtypes == {torch.float32} for dtypes in seen.values())


def test_gradients_add_up_and_are_clipped():
    model = Toy(drop=0)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='MixedPrecisionOptimWrapper',
            loss_scale=128.0,
            accumulative_counts=2,
            clip_grad=dict(max_norm=1e-3),
            optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        )
    )
    assert isinstance(wrapper, Bf16OptimWrapper)
    wrapper.initialize_count_status(model, 0, 4)
    before = [p.clone() for p in model.parameters()]
    model.train_step(dict(inputs=torch.rand(4, 3)), wrapper)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    model.train_step(dict(inputs=torch.rand(4, 3)), wrapper)
    moved = sum(float((a - b).detach().pow(2).sum()) for a, b in zip(before, model.parameters()))
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_loss_scaling_on_a_gpu(monkeypatch):
    """Without a GPU only the choice of the wrapper can be tested."""
    made = {}
    monkeypatch.setattr('fiber_mmdet.engine.precision.is_cuda_available', lambda: True)
    monkeypatch.setattr(AmpOptimWrapper, '__init__', lambda self, **kwargs: made.update(kwargs))
    optimizer = torch.optim.SGD(Toy().parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='MixedPrecisionOptimWrapper',
            optimizer=optimizer,
            use_fsdp=True,
            clip_grad=dict(max_norm=1.0),
        )
    )
    assert isinstance(wrapper, AmpOptimWrapper)
    assert made == dict(
        optimizer=optimizer, loss_scale='dynamic', use_fsdp=True, clip_grad=dict(max_norm=1.0)
    )


def test_checkpoint_of_a_gpu_is_resumed_on_a_cpu():
    optimizer = torch.optim.AdamW(Toy().parameters(), lr=0.1)
    state = dict(OptimWrapper(optimizer).state_dict(), loss_scaler=dict(scale=65536.0))
    Bf16OptimWrapper(optimizer).load_state_dict(state)


def test_whole_training(tmp_path):
    wrapper = dict(type='MixedPrecisionOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    recorded, _ = run(
        tmp_path, [dict(type='SeedEveryIterHook')], dict(max_epochs=1), optim_wrapper=wrapper
    )
    plain, _ = run(tmp_path, [dict(type='SeedEveryIterHook')], dict(max_epochs=1), lr=1e-3)
    assert recorded.losses == pytest.approx(plain.losses, rel=0.05, abs=0.01)
    assert recorded.losses != plain.losses


# ------------------------------------------------------------ without boxes
@pytest.mark.parametrize('boxes', ['none', 'some'])
def test_batches_without_boxes(detector, boxes):
    """A step on images without boxes gives every parameter a finite gradient."""
    some = OneScene()[0] if boxes == 'some' else OneScene(boxes=())[0]
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6)
    wrapper = OptimWrapper(optimizer)
    before = {n: p.detach().clone() for n, p in detector.named_parameters()}
    losses = detector.train().train_step(pseudo_collate([OneScene(boxes=())[1], some]), wrapper)
    assert all(value.isfinite() for value in losses.values())
    assert float(losses['loss_token']) > 0
    assert (float(losses['loss_bbox']) > 0) == (boxes == 'some')
    detector.zero_grad()
    data = detector.data_preprocessor(pseudo_collate([OneScene(boxes=())[1], some]), True)
    total, _ = detector.parse_losses(detector(**data, mode='loss'))
    total.backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert any(not torch.equal(before[n], p) for n, p in detector.named_parameters())
