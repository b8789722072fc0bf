"""The grounding head: tower, box coder, losses and assignment, against separate computations."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

from fiber_mmdet.models import FIBERFPN, GroundingHead, InclusiveBoxCoder, SafeGIoULoss
from fiber_mmdet.models.detection.boxes import center_size, to_exclusive, to_inclusive
from fiber_mmdet.models.detection.dyhead import DyHeadBlock, read_flat
from fiber_mmdet.models.detection.grounding_head import centerness_target

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
STRIDES = (8, 16, 32, 64, 128)
IMAGE = 128


# ----------------------------------------------------------------- the tower
def deform_conv(x, conv, offset, mask, stride):
    """Modulated deformable 3x3 convolution, tap by tap, sampled by grid_sample."""
    h, w = x.shape[-2:]
    rows, cols = offset.shape[-2:]
    y, x_ = torch.meshgrid(torch.arange(rows) * stride, torch.arange(cols) * stride, indexing='ij')
    out = conv.bias[:, None, None]
    for tap in range(9):
        at_y = y - 1 + tap // 3 + offset[:, 2 * tap]
        at_x = x_ - 1 + tap % 3 + offset[:, 2 * tap + 1]
        grid = torch.stack([2 * at_x / (w - 1) - 1, 2 * at_y / (h - 1) - 1], -1)
        sampled = F.grid_sample(x, grid, align_corners=True) * mask[:, tap : tap + 1]
        out = out + torch.einsum('oc,bchw->bohw', conv.weight[:, :, tap // 3, tap % 3], sampled)
    return out


def first_values(x, size):
    """What reading a larger map's memory as a smaller map gives, image by image."""
    h, w = size
    return torch.stack(
        [
            torch.tensor(image.flatten().tolist()[: len(image) * h * w]).view(len(image), h, w)
            for image in x
        ]
    )


def dyrelu(module, x):
    pooled = x.mean((2, 3))
    hidden = F.relu(F.linear(pooled, module.conv1.conv.weight.flatten(1), module.conv1.conv.bias))
    theta = F.linear(hidden, module.conv2.conv.weight.flatten(1), module.conv2.conv.bias)
    theta = (F.relu6(theta + 3) / 6)[:, :, None, None]
    t1, t2, t3, t4 = theta.chunk(4, 1)
    return torch.maximum((2 * (t1 - 0.5) + 1) * x + t2 - 0.5, 2 * (t3 - 0.5) * x + t4 - 0.5)


def block_by_hand(block, levels):
    out = []
    for i, x in enumerate(levels):
        size, offset, mask = tuple(x.shape[-2:]), None, None
        if block.deformable:
            raw = block.offset(x)
            offset, mask = raw[:, :18], raw[:, 18:].sigmoid()

        def conv(which, source, stride=1, size=size, offset=offset, mask=mask):
            module = getattr(block, which)
            if block.deformable:
                small = tuple(source.shape[-2:]) if which == 'from_coarser' else size
                source = deform_conv(
                    source,
                    module.conv,
                    first_values(offset, small),
                    first_values(mask, small),
                    stride,
                )
            else:
                source = F.conv2d(source, module.conv.weight, module.conv.bias, stride, 1)
            return F.group_norm(source, 16, module.norm.weight, module.norm.bias)

        maps = [conv('from_own', x)]
        if i > 0:
            maps.append(conv('from_finer', levels[i - 1], stride=2))
        if i + 1 < len(levels):
            maps.append(
                F.interpolate(
                    conv('from_coarser', levels[i + 1]),
                    size=size,
                    mode='bilinear',
                    align_corners=True,
                )
            )
        weights = [
            F.relu6(F.relu(block.scale_attention(m.mean((2, 3), keepdim=True))) + 3) / 6
            for m in maps
        ]
        out.append(dyrelu(block.activation, sum(w * m for w, m in zip(weights, maps)) / len(maps)))
    return out


@pytest.mark.parametrize('deformable', [True, False])
def test_tower_block(build, deformable):
    block = build(DyHeadBlock(32, deformable=deformable))
    levels = [torch.randn(2, 32, *size) for size in ((8, 12), (4, 6), (2, 3))]
    with torch.no_grad():
        for found, expected in zip(block(levels), block_by_hand(block, levels)):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_plain_tower_has_no_offsets(build):
    assert not [
        name for name, _ in DyHeadBlock(32, deformable=False).named_parameters() if 'offset' in name
    ]


def test_offsets_of_a_larger_map_are_read_flat():
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    flat = read_flat(x, (2, 3))
    assert flat.shape == (2, 3, 2, 3)
    assert flat[0].flatten().tolist() == list(range(18))  # not a corner of each channel
    assert flat[1].flatten().tolist() == list(range(60, 78))


# --------------------------------------------------------------- predictions
@pytest.fixture
def head(tiny_model_cfg, build):
    cfg = tiny_model_cfg.bbox_head
    cfg.update(
        train_cfg=tiny_model_cfg.train_cfg,
        test_cfg=tiny_model_cfg.test_cfg,
        deformable=False,
        max_tokens=6,
    )
    return build(cfg)


def pyramid(batch=2):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(batch, 32, IMAGE // s, IMAGE // s, generator=generator) for s in STRIDES]


def test_forward(head):
    """Token logits: half of the normalised word is projected, the whole one gives the bias."""
    text, mask = torch.randn(2, 5, 32), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    with torch.no_grad():
        logits, deltas, centerness = head(pyramid(), text, mask)
        levels = head.tower[0](pyramid())
        for i, x in enumerate(levels):
            size = IMAGE // STRIDES[i]
            assert deltas[i].shape == (2, 4, size, size)
            assert centerness[i].shape == (2, 1, size, size)
            torch.testing.assert_close(deltas[i], head.scales[i].scale * head.box_conv(x))
            y, x_, token = size // 2, size - 1, 2
            word = F.normalize(text[1, token], dim=0)
            key = head.token_proj(word / 2) / head.log_scale.exp()
            expected = x[1, :, y, x_] @ key + word @ head.token_bias + head.token_bias0
            torch.testing.assert_close(logits[i][1, y * size + x_, token], expected[0])
        no_word = head.token_proj(torch.zeros(32)) / head.log_scale.exp()
        torch.testing.assert_close(
            logits[0][1, :, 3], levels[0][1].flatten(1).T @ no_word + head.token_bias0
        )


def test_initial_values():
    head = GroundingHead(channels=256, text_dim=32, num_blocks=1)
    head.init_weights()
    assert head.token_bias0.item() == pytest.approx(-4.59512, abs=1e-5)
    assert not head.token_bias.any() and not head.log_scale.any()
    assert [s.scale.item() for s in head.scales] == [1] * 5
    for conv in (head.box_conv, head.centerness_conv):
        assert 0.008 < conv.weight.std() < 0.012 and not conv.bias.any()
    block = head.tower[0]
    assert 0.008 < block.scale_attention.weight.std() < 0.012
    for module in (block.from_own, block.from_finer, block.from_coarser):
        bound = 1 / math.sqrt(9 * 256)
        assert 0.99 * bound < module.conv.weight.abs().max() <= bound
        assert not module.conv.bias.any()
    assert block.offset.weight.any() and block.offset.bias.any()


def test_scale_of_the_logits_can_start_elsewhere():
    head = GroundingHead(channels=32, text_dim=32, num_blocks=1, log_scale=-3.0)
    head.init_weights()
    assert head.log_scale.item() == -3 and head.log_scale.requires_grad


def test_anchors(head):
    sizes = [(2, 3), (1, 1), (1, 1), (1, 1), (1, 1)]
    anchors = head.level_anchors([torch.zeros(1, 4, *size) for size in sizes])
    assert anchors[0][0].tolist() == [-28, -28, 35, 35]
    assert anchors[0][4].tolist() == [-20, -20, 43, 43]  # second row, second column
    assert anchors[1][0].tolist() == [-56, -56, 71, 71]
    assert anchors[4][0].tolist() == [-448, -448, 575, 575]
    assert [len(a) for a in anchors] == [6, 1, 1, 1, 1]


# --------------------------------------------------------------------- boxes
def test_last_pixel():
    exclusive, inclusive = torch.tensor([[0.0, 4, 8, 6]]), torch.tensor([[0.0, 4, 7, 5]])
    assert torch.equal(to_inclusive(exclusive), inclusive)
    assert torch.equal(to_exclusive(inclusive), exclusive)
    assert center_size(inclusive)[1].tolist() == [[8, 2]]


def test_arguments_that_became_constants():
    """Configs that name them load if they name the value that is now fixed."""
    GroundingHead(norm_groups=16, anchor_scale=8, deformable=False, num_blocks=1)
    FIBERFPN(block_size=3)
    InclusiveBoxCoder(stds=[0.1, 0.1, 0.2, 0.2])
    with pytest.raises(TypeError, match='GroundingHead.anchor_scale .* always 8, not 4'):
        GroundingHead(anchor_scale=4)
    with pytest.raises(TypeError, match="no argument 'anchors_scale'"):
        GroundingHead(anchors_scale=8)


def test_box_coder_hand_values():
    coder = InclusiveBoxCoder()
    anchor = torch.tensor([[-28.0, -28, 35, 35]])  # centre 3.5, 64 pixels wide
    box = torch.tensor([[0.0, 0, 31, 63]])  # centre (15.5, 31.5), 32 x 64 pixels
    deltas = coder.encode(anchor, box)
    expected = torch.tensor([[10 * 12 / 64, 10 * 28 / 64, 5 * math.log(0.5), 0]])
    torch.testing.assert_close(deltas, expected)
    torch.testing.assert_close(coder.decode(anchor, deltas), box)


def test_box_coder_round_trip():
    coder = InclusiveBoxCoder()
    low = torch.rand(50, 2) * 100
    boxes = torch.cat([low, low + torch.rand(50, 2) * 200], 1)
    anchors = torch.cat([low.flip(0), low.flip(0) + 63], 1)
    torch.testing.assert_close(
        coder.decode(anchors, coder.encode(anchors, boxes)), boxes, rtol=1e-4, atol=1e-3
    )


def test_box_coder_clamps_sizes_from_above_only():
    coder = InclusiveBoxCoder()
    anchor = torch.tensor([[-28.0, -28, 35, 35]])
    huge = coder.decode(anchor, torch.tensor([[0.0, 0, 1000, 1000]]))
    torch.testing.assert_close(huge[:, 2:] - huge[:, :2] + 1, torch.full((1, 2), 4000.0))
    nothing = coder.decode(anchor, torch.tensor([[0.0, 0, -1000, -1000]]))
    torch.testing.assert_close(nothing, torch.tensor([[4.0, 4, 3, 3]]))


GIOU_CASES = [
    ([0, 0, 4, 4], [0, 0, 4, 4], 0),
    ([0, 0, 1, 1], [2, 0, 3, 1], 4 / 3),  # disjoint: union 2, enclosure 3
    ([0, 0, 2, 2], [1, 1, 3, 3], 1 - (1 / 7 - 2 / 9)),
    ([2, 2, 0, 0], [0, 0, 4, 4], 1),  # turned inside out: counts as the point (2, 2)
    ([6, 6, 5, 5], [0, 0, 4, 4], 1 + 20 / 36),
]


@pytest.mark.parametrize('pred, target, expected', GIOU_CASES)
def test_giou_loss_hand_values(pred, target, expected):
    pred = torch.tensor([pred]).float().requires_grad_()
    loss = SafeGIoULoss()(pred, torch.tensor([target]).float())
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert pred.grad.isfinite().all()


def test_giou_loss_of_two_points_is_finite():
    point = torch.ones(1, 4, requires_grad=True)
    loss = SafeGIoULoss()(point, torch.ones(1, 4))
    loss.backward()
    assert loss.isfinite() and point.grad.isfinite().all()


def test_giou_loss_weights_and_normaliser():
    pred, target, _ = zip(*GIOU_CASES)
    pred, target = torch.tensor(pred).float(), torch.tensor(target).float()
    each = SafeGIoULoss(reduction='none')(pred, target)
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    loss = SafeGIoULoss(loss_weight=2.0)(pred, target, weight=weight, avg_factor=0.25)
    assert loss.item() == pytest.approx(2 * (each * weight).sum().item() / 0.25, rel=1e-5)


def test_centerness_target():
    anchors = torch.tensor([[8.0, 8, 12, 12], [2.0, 8, 6, 12]])
    boxes = torch.tensor([[0.0, 0, 20, 20], [0.0, 0, 20, 40]])
    expected = [1, math.sqrt(4 / 16 * 10 / 30)]
    torch.testing.assert_close(centerness_target(anchors, boxes), torch.tensor(expected))


# ---------------------------------------------------------------- assignment
def atss(anchors, boxes):
    """ATSS from its description, one box after the other."""

    def area(b):
        return (b[..., 2] - b[..., 0] + 1) * (b[..., 3] - b[..., 1] + 1)

    everything = torch.cat(anchors)
    centers = (everything[:, :2] + everything[:, 2:]) / 2
    matched, best = torch.full((len(everything),), -1), torch.zeros(len(everything))
    for g, box in enumerate(boxes):
        low = torch.maximum(everything[:, :2], box[:2])
        high = torch.minimum(everything[:, 2:], box[2:])
        overlap = (high - low + 1).clamp(min=0).prod(1)
        iou = overlap / (area(everything) + area(box) - overlap)
        distance = (centers - (box[:2] + box[2:]) / 2).norm(dim=1)
        candidates, start = [], 0
        for level in anchors:
            near = distance[start : start + len(level)].argsort()[:9] + start
            candidates += near.tolist()
            start += len(level)
        threshold = iou[candidates].mean() + iou[candidates].std()
        for a in candidates:
            inside = torch.cat([centers[a] - box[:2], box[2:] - centers[a]]).min() > 0.01
            if iou[a] >= threshold and inside and iou[a] > best[a]:
                matched[a], best[a] = g, iou[a]
    return matched


def random_boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 90
    return torch.cat([low, low + 8 + torch.rand(count, 2, generator=generator) * 60], 1)


def level_shapes(batch=1):
    return [torch.zeros(batch, 4, IMAGE // s, IMAGE // s) for s in STRIDES]


@pytest.mark.parametrize('seed', range(5))
def test_assignment(head, seed):
    anchors, boxes = head.level_anchors(level_shapes()), random_boxes(6, seed)
    found = head.assign(anchors, InstanceData(bboxes=boxes))
    assert torch.equal(found, atss(anchors, boxes)) and (found >= 0).sum() > 5


def test_assignment_without_boxes(head):
    found = head.assign(head.level_anchors(level_shapes()), InstanceData(bboxes=torch.zeros(0, 4)))
    assert found.dtype == torch.int64 and len(found) == 341 and (found == -1).all()


# -------------------------------------------------------------------- losses
def truth(boxes, length, rows=None):
    """``rows``: tokens of each box; token i by default."""
    maps = torch.zeros(len(boxes), length, dtype=torch.bool)
    for i in range(len(boxes)):
        maps[i, [i % length] if rows is None else rows[i]] = True
    return InstanceData(bboxes=boxes, positive_maps=maps)


def raw_predictions(batch, length, seed=7):
    generator = torch.Generator().manual_seed(seed)

    def tensors(*shape):
        return torch.randn(batch, *shape, generator=generator).requires_grad_()

    sides = [IMAGE // s for s in STRIDES]
    return (
        [tensors(s * s, length) for s in sides],
        [tensors(4, s, s) for s in sides],
        [tensors(1, s, s) for s in sides],
    )


def focal(logits, target):
    p = logits.sigmoid()
    p_t = torch.where(target > 0, p, 1 - p)
    alpha = torch.where(target > 0, 0.25, 0.75)
    return (-alpha * (1 - p_t) ** 2 * p_t.log()).sum()


def losses_by_hand(head, logits, deltas, centerness, mask, gts, last_bit=False):
    anchors = head.level_anchors(deltas)
    matched = [atss(anchors, gt.bboxes) for gt in gts]
    anchors = torch.cat(anchors)
    positives = max(sum((m >= 0).sum().item() for m in matched), 1)
    token = box = center = quality_sum = 0
    for i, (gt, m) in enumerate(zip(gts, matched)):
        flat = torch.cat([x[i] for x in logits])
        target = torch.zeros_like(flat)
        target[m < 0, -1] = float(last_bit)
        for a in (m >= 0).nonzero()[:, 0]:
            target[a] = gt.positive_maps[m[a]].float()
        token = token + focal(flat[:, mask[i]], target[:, mask[i]])
        if not (m >= 0).any():
            continue
        at, true = anchors[m >= 0], gt.bboxes[m[m >= 0]]
        quality = centerness_target(at, true)
        d = torch.cat([x[i].flatten(1).T for x in deltas])[m >= 0]
        giou = SafeGIoULoss(reduction='none')(InclusiveBoxCoder().decode(at, d), true)
        box = box + 2 * (quality * giou).sum()
        quality_sum = quality_sum + quality.sum()
        c = torch.cat([x[i].flatten() for x in centerness])[m >= 0]
        center = center + F.binary_cross_entropy_with_logits(c, quality, reduction='sum')
    return dict(
        loss_token=token / positives,
        loss_bbox=box / quality_sum if quality_sum else 0.0,
        loss_centerness=center / positives,
    )


def full_mask(batch, length):
    return torch.ones(batch, length, dtype=torch.bool)


def numbers(losses):
    return {name: torch.as_tensor(value).item() for name, value in losses.items()}


def assert_losses(found, expected):
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-4, abs=1e-7)


NONE = torch.zeros(0, 4)


@pytest.mark.parametrize(
    'boxes',
    [
        [random_boxes(3, 0), random_boxes(2, 1)],
        [random_boxes(3, 0), NONE],
        [NONE, NONE],
    ],
    ids=['boxes', 'one without', 'all without'],
)
def test_losses_and_their_normalisers(head, boxes):
    predictions = raw_predictions(2, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    gts = [truth(b, 5) for b in boxes]
    losses = head.loss_by_feat(*predictions, mask, gts)
    assert_losses(losses, losses_by_hand(head, *predictions, mask, gts))
    sum(losses.values()).backward()
    for x in sum(predictions, []):  # every level stays in the graph: DDP needs that
        assert x.grad is not None and x.grad.isfinite().all()


def test_every_parameter_gets_a_gradient_without_boxes(head):
    head.train()
    sample = type('Sample', (), dict(gt_instances=truth(NONE, 5)))
    losses = head.loss(pyramid(1), torch.randn(1, 5, 32), full_mask(1, 5), [sample])
    assert losses['loss_bbox'].item() == losses['loss_centerness'].item() == 0
    sum(losses.values()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


def test_boxes_whose_phrase_has_no_token_still_regress(head):
    predictions, boxes = raw_predictions(1, 5), random_boxes(3, 0)
    with_tokens = head.loss_by_feat(*predictions, full_mask(1, 5), [truth(boxes, 5)])
    gts = [truth(boxes, 5, rows=[[], [], []])]
    without = head.loss_by_feat(*predictions, full_mask(1, 5), gts)
    assert without['loss_bbox'] == with_tokens['loss_bbox'] > 0
    assert without['loss_centerness'] == with_tokens['loss_centerness'] > 0
    assert_losses(without, losses_by_hand(head, *predictions, full_mask(1, 5), gts))
    assert without['loss_token'] != with_tokens['loss_token']


@pytest.mark.parametrize(
    'length, background_token, expected', [(6, True, True), (5, True, False), (6, False, False)]
)
def test_background_fires_on_the_last_token_of_a_full_prompt(
    head, length, background_token, expected
):
    head.background_token = background_token  # max_tokens is 6
    predictions, gts = raw_predictions(1, length), [truth(random_boxes(3, 0), length)]
    losses = head.loss_by_feat(*predictions, full_mask(1, length), gts)
    for bit in (False, True):
        by_hand = losses_by_hand(head, *predictions, full_mask(1, length), gts, last_bit=bit)
        same = losses['loss_token'].item() == pytest.approx(by_hand['loss_token'].item(), rel=1e-4)
        assert same == (bit == expected)


def test_padding_of_the_prompt_does_not_change_the_loss(head):
    logits, deltas, centerness = raw_predictions(1, 4)
    short = head.loss_by_feat(
        logits, deltas, centerness, full_mask(1, 4), [truth(random_boxes(3, 0), 4)]
    )
    padded = [torch.cat([x, 9 * torch.ones(1, x.shape[1], 4)], 2) for x in logits]
    mask = torch.arange(8)[None] < 4
    gt = truth(random_boxes(3, 0), 4)
    gt.positive_maps = F.pad(gt.positive_maps, (0, 4))
    long = head.loss_by_feat(padded, deltas, centerness, mask, [gt])
    assert_losses(long, short)


def test_losses_are_computed_in_fp32(head):
    logits, deltas, centerness = raw_predictions(1, 5)
    halves = [[x.detach().bfloat16() for x in part] for part in (logits, deltas, centerness)]
    gts = [truth(random_boxes(3, 0), 5)]
    losses = head.loss_by_feat(*halves, full_mask(1, 5), gts)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    floats = [[x.float() for x in part] for part in halves]
    assert_losses(losses, head.loss_by_feat(*floats, full_mask(1, 5), gts))


def test_checkpointed_tower_gives_the_same_gradients(head):
    def gradients(with_cp):
        head.with_cp = with_cp
        head.train().zero_grad()
        outs = head(pyramid(1), torch.ones(1, 5, 32), full_mask(1, 5))
        sum(x.square().sum() for part in outs for x in part).backward()
        return [p.grad.clone() for p in head.parameters()]

    for a, b in zip(gradients(False), gradients(True)):
        torch.testing.assert_close(a, b)
