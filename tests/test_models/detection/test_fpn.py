"""The pyramid: DropBlock shared by channels, what goes down, the extra levels, initial values."""

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models import FIBERFPN
from fiber_mmdet.models.detection.fpn import SharedDropBlock

SIZES = ((12, 10), (6, 5), (3, 3))


@pytest.fixture
def neck(build):
    return build(FIBERFPN(in_channels=[8, 16, 32], out_channels=16, drop_prob=0.9))


def levels(batch=2):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, c, *size, generator=generator) for c, size in zip((8, 16, 32), SIZES)
    ]


def conv(module, x, stride=1):
    weight = module.conv.weight
    return F.conv2d(x, weight, module.conv.bias, stride, weight.shape[-1] // 2)


# ------------------------------------------------------------------ DropBlock
@pytest.mark.parametrize('drop_prob, training', [(0.5, False), (0.0, True)])
def test_drop_block_is_the_identity(drop_prob, training):
    x = torch.randn(2, 3, 5, 5)
    assert SharedDropBlock(drop_prob).train(training)(x) is x


def test_drop_block_shares_its_mask_between_channels_only():
    torch.manual_seed(0)
    x = torch.rand(4, 6, 20, 20) + 1
    out = SharedDropBlock(0.3)(x)
    kept = out != 0
    assert (kept == kept[:, :1]).all()
    assert not torch.equal(kept[0], kept[1])
    mask = kept[:, :1].float()
    scale = mask.numel() / mask.sum()
    assert scale > 1.05
    torch.testing.assert_close(out, x * mask * scale)


def test_drop_block_rate_and_border():
    """Seeds come with probability 0.3 / 9 everywhere; border positions have fewer neighbours."""
    torch.manual_seed(0)
    dropped = (SharedDropBlock(0.3)(torch.ones(4000, 1, 6, 6)) == 0).float().mean((0, 1))
    for row, col, seeds in ((0, 0, 4), (0, 3, 6), (3, 3, 9)):
        assert dropped[row, col] == pytest.approx(1 - (1 - 0.3 / 9) ** seeds, abs=0.03)


def test_drop_block_drops_whole_blocks():
    torch.manual_seed(0)
    for _ in range(2):
        dropped = (SharedDropBlock(0.2)(torch.ones(1, 1, 40, 40)) == 0).float()
        windows = F.unfold(F.pad(dropped, [1] * 4, value=1), 3)
        full = windows.min(1).values.view(1, 1, 40, 40)  # centres of complete blocks
        covered = F.max_pool2d(full, 3, 1, 1)
        assert dropped.any() and torch.equal(covered, dropped)


def test_everything_dropped_is_zero_not_nan():
    out = SharedDropBlock(9.0)(torch.ones(2, 3, 4, 4))
    assert torch.equal(out, torch.zeros(2, 3, 4, 4))


# ------------------------------------------------------------------- pyramid
def pyramid_by_hand(neck, inputs, drop=lambda x: x):
    """Levels, and what goes down at each of the lower two."""
    laterals = [conv(m, x) for m, x in zip(neck.lateral_convs, inputs)]
    for i in (1, 0):
        laterals[i] = laterals[i] + F.interpolate(laterals[i + 1], size=SIZES[i], mode='nearest')
    outs = [
        conv(m, drop(x) if i < 2 else x) for i, (m, x) in enumerate(zip(neck.fpn_convs, laterals))
    ]
    outs.append(conv(neck.fpn_convs[3], outs[2], stride=2))  # from P5, not from C5
    outs.append(conv(neck.fpn_convs[4], outs[3].relu(), stride=2))  # P6 itself stays as it is
    return outs


def assert_levels(found, expected):
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_pyramid_in_evaluation(neck):
    found = neck(tuple(levels()))
    assert_levels(found, pyramid_by_hand(neck, levels()))
    assert [tuple(x.shape[2:]) for x in found] == [*SIZES, (2, 2), (1, 1)]
    assert (found[3] < 0).any()


def test_the_undropped_map_goes_down(neck, monkeypatch):
    """Dropping zeroes the input of P3's and P4's convolutions and reaches nothing else."""
    monkeypatch.setattr(SharedDropBlock, 'forward', lambda self, x: torch.zeros_like(x))
    assert_levels(
        neck.train()(tuple(levels())), pyramid_by_hand(neck, levels(), drop=torch.zeros_like)
    )
    seen = []
    monkeypatch.setattr(SharedDropBlock, 'forward', lambda self, x: (seen.append(x), 0 * x)[1])
    neck(tuple(levels()))
    laterals = []
    pyramid_by_hand(neck, levels(), drop=lambda x: (laterals.append(x), x)[1])
    assert len(seen) == 2
    for a, b in zip(seen, laterals):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_training_drops(neck):
    torch.manual_seed(0)
    plain, dropped = neck(tuple(levels())), neck.train()(tuple(levels()))
    same = [torch.equal(a, b) for a, b in zip(plain, dropped)]
    assert same == [False, False, True, True, True]


def test_initial_values():
    neck = FIBERFPN(in_channels=[32, 64, 128], out_channels=64)
    neck.init_weights()
    convs = [m.conv for m in (*neck.lateral_convs, *neck.fpn_convs)]
    assert len(convs) == 8
    for module in convs:
        bound = (3 / module.weight[0].numel()) ** 0.5  # Kaiming uniform with a = 1
        assert 0.97 * bound < module.weight.abs().max() <= bound
        assert not module.bias.any()


def test_keys_are_those_of_mmdet():
    from mmdet.models.necks import FPN

    ours, theirs = (
        FIBERFPN([8, 16], 16, num_outs=3),
        FPN([8, 16], 16, 3, add_extra_convs='on_output'),
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
