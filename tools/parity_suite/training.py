"""Losses, assignment and gradients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from fiber_mmdet.checkpoints.published_layout import to_official

from .compare import SCALARS, Row, Table, equal_row, fault_row, relative, scaled_row
from .detections import anchor_grids
from .features import Outputs, forward
from .fixture import Fixture, ParityError
from .inputs import Inputs

# Names of our losses in the reference, whose unused classification loss is multiplied by zero.
LOSSES = {
    'loss_reg': 'loss_bbox',
    'loss_centerness': 'loss_centerness',
    'loss_dot_product_token': 'loss_token',
}
UNUSED_LOSS = 'loss_cls'
# Norms below NOISE are zero except for rounding and are compared absolutely.
NOISE, ROUNDING = 1e-6, 1e-8
# The recorded gradients are the reference's float32 ones. Single values suffer more from kinks (see
# gradients_of) than norms do: up to 2.7 times as much as the worst norm, as measured.
GRADIENTS, GRADIENT_FACTOR = 1e-3, 5


def read_targets(fixture: Fixture, length: int, batch: int) -> list[InstanceData] | None:
    """Ground truth of every image.

    Rows with a label below 1 are padding. The positive map has a row for each other
    row (or for all rows), image after image.

    Args:
        fixture: the fixture, with ``gt_boxes`` (B, G, 4) inclusive xyxy in pixels,
            ``gt_labels`` (B, G) from 1 and ``gt_positive_map`` (rows, 256).
        length: tokens L of the text.
        batch: number of images B.

    Returns:
        Per image ``bboxes`` (g, 4), ``labels`` (g,) from 1 and ``positive_maps``
        (g, L) bool; None if the fixture has no ground truth.

    Raises:
        ParityError: the arrays do not fit together.
    """
    names = ('gt_boxes', 'gt_labels', 'gt_positive_map')
    if not all(name in fixture for name in names):
        return None
    boxes, labels, table = (torch.from_numpy(fixture[name]) for name in names)
    real = labels > 0
    if len(table) == labels.numel():
        table = table[real.flatten()]
    if len(boxes) != batch or boxes.shape[:2] != labels.shape or len(table) != real.sum():
        raise ParityError(
            f'{fixture.path}: gt_boxes {tuple(boxes.shape)}, gt_labels '
            f'{tuple(labels.shape)} and gt_positive_map {tuple(table.shape)} do '
            f'not fit {batch} images'
        )
    maps = (table[:, :length] > 0).split(real.sum(1).tolist())
    return [
        InstanceData(bboxes=box[row].float(), labels=label[row], positive_maps=positive_map)
        for box, label, row, positive_map in zip(boxes, labels, real, maps)
    ]


@dataclass
class Training:
    """What a training step computes before the backward pass.

    Attributes:
        losses: value by official name, including the unused one.
        assigned: ``atss{i}_pos_anchor`` (P,) indices over all levels, ``_label`` (P,)
            and ``_regtarget`` (P, 4).
    """

    losses: dict[str, float]
    assigned: dict[str, Tensor]


@torch.no_grad()
def losses_of(model: nn.Module, outputs: Outputs, targets: list[InstanceData]) -> Training:
    """Losses and assignment of a forward pass.

    Args:
        model: the detector, in evaluation mode.
        outputs: its forward pass.
        targets: see :func:`read_targets`.
    """
    head = model.bbox_head
    ours = head.loss_by_feat(*outputs.head, outputs.mask, targets)
    anchors = anchor_grids(model, outputs)
    assigned = {}
    for i, target in enumerate(targets):
        index = head.assign(anchors, target)
        positive = (index >= 0).nonzero().flatten()
        index = index[positive]
        assigned.update(
            {
                f'atss{i}_pos_anchor': positive,
                f'atss{i}_pos_label': target.labels[index],
                f'atss{i}_pos_regtarget': head.bbox_coder.encode(
                    torch.cat(anchors)[positive], target.bboxes[index]
                ),
            }
        )
    losses = {name: ours[key].item() for name, key in LOSSES.items()}
    return Training(dict(losses, **{UNUSED_LOSS: 0.0}), assigned)


@torch.enable_grad()
def gradients_of(
    model: nn.Module, inputs: Inputs, targets: list[InstanceData]
) -> dict[str, Tensor]:
    """Gradients of the summed losses, computed in float64.

    In float32 a sampling point of the deformable convolutions, or the maximum in
    their activation, occasionally falls on the other side of a kink and changes
    gradients by up to a percent. In float64 they agree with the reference's to 1e-7.

    Args:
        model: the detector, in evaluation mode; float32 again afterwards.
        inputs: its inputs.
        targets: see :func:`read_targets`.

    Returns:
        Official key -> gradient, of the parameter's shape.
    """
    model.zero_grad(set_to_none=True)
    with double_precision(model):
        outputs = forward(model, inputs)
        sum(model.bbox_head.loss_by_feat(*outputs.head, outputs.mask, targets).values()).backward()
        found = to_official(
            {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, 'fine'
        ).state
        model.zero_grad(set_to_none=True)
    return found


@contextmanager
def double_precision(model: nn.Module) -> Iterator[None]:
    """Weights in float64 within the context; ``.float()``, meant for autocast, does nothing."""
    original = Tensor.float
    model.double()
    try:
        with mock.patch.object(
            Tensor, 'float', lambda x: x if x.dtype == torch.float64 else original(x)
        ):
            yield
    finally:
        model.float()


def compare_training(
    table: Table, model: nn.Module, inputs: Inputs, outputs: Outputs, targets: list[InstanceData]
) -> Iterator[Row]:
    """Rows of losses, assignment and gradients."""
    fixture, prefix = table.fixture, table.prefix
    if table.needs('loss_', 'atss'):
        training = losses_of(model, outputs, targets)
        if prefix + 'loss_names' in fixture:
            names = table.take(('loss_names', 'loss_values', 'loss_total').__contains__)
            yield from _loss_rows(fixture, prefix, names, training.losses)
        for name in table.take(training.assigned.__contains__):
            yield _assignment_row(fixture, prefix + name, training.assigned[name])
    if table.needs('grad'):
        gradients = gradients_of(model, inputs, targets)
        for name in table.take(('grad_norms', 'grad_norms_fp64').__contains__):
            yield _norms_row(fixture, prefix, name, gradients)
        lost = fixture.note('grad_norm_fp32_vs_fp64_max_rel', prefix, 0.0)
        named = {f'grad:{key}': gradient for key, gradient in gradients.items()}
        for name in table.take(named.__contains__):
            yield scaled_row(
                fixture,
                prefix + name,
                named[name],
                max(GRADIENTS, GRADIENT_FACTOR * lost),
                is_output=False,
            )


# -------------------------------------------------------------- losses
def _loss_rows(
    fixture: Fixture, prefix: str, names: list[str], ours: dict[str, float]
) -> Iterator[Row]:
    listed = fixture.json(prefix + 'loss_names')
    unknown = [name for name in listed if name not in ours]
    double = fixture.note('fp64_losses', prefix, {})
    for name in names:
        member = prefix + name
        if name == 'loss_names' or unknown:
            yield Row(
                member,
                (len(listed),),
                0.0,
                0.0,
                fault=f'unknown losses {unknown}' if unknown else '',
            )
        elif name == 'loss_total':
            gap = relative(sum(double.values()), float(fixture[member])) if double else 0.0
            yield Row(
                member,
                (),
                relative(sum(ours[n] for n in listed), float(fixture[member])),
                max(SCALARS, gap),
            )
        else:
            values = dict(zip(listed, fixture[member].tolist()))
            yield _worst(
                member,
                (len(listed),),
                [
                    (relative(ours[n], x), max(SCALARS, relative(double.get(n, x), x)), n)
                    for n, x in values.items()
                ],
            )


def _worst(name: str, shape: tuple[int, ...], entries: Sequence[tuple[float, float, str]]) -> Row:
    """The row of the (error, tolerance, key) with the largest error in tolerances."""
    error, tolerance, key = max(entries, key=lambda e: (not e[0] <= e[1], e[0] / e[1]))
    over = sum(not e <= t for e, t, _ in entries)
    return Row(
        name,
        shape,
        error,
        tolerance,
        fault=f'{over} beyond tolerance' if over else '',
        note=f'worst: {key}',
    )


# ---------------------------------------------------------- assignment
def _assignment_row(fixture: Fixture, name: str, ours: Tensor) -> Row:
    """Anchors and labels must be equal; targets, if there are any, are measured like outputs."""
    if name.endswith('regtarget') and len(ours):
        return scaled_row(fixture, name, ours)
    return equal_row(fixture, name, ours)


# ----------------------------------------------------------- gradients
def _norms_row(fixture: Fixture, prefix: str, name: str, gradients: dict[str, Tensor]) -> Row:
    """All gradient norms in one row, that of the norm that uses most of its tolerance.

    Differences are relative to the norm, or absolute where it is rounding noise.
    The tolerance of the reference's float32 norms includes their own error:
    the distance from its float64 norms, or the worst such distance in ``meta``.
    """
    theirs = fixture.json(prefix + name)
    surplus = sorted(set(gradients) - set(theirs))
    if surplus:
        return fault_row(
            prefix + name,
            f'{len(surplus)} gradients the reference does not have: {", ".join(surplus[:2])}',
            (len(theirs),),
        )
    double = name.endswith('fp64')
    exact = (
        fixture.json(prefix + 'grad_norms_fp64')
        if not double and (prefix + 'grad_norms_fp64') in fixture
        else {}
    )
    lost = 0.0 if double else fixture.note('grad_norm_fp32_vs_fp64_max_rel', prefix, 0.0)
    noise = set(fixture.note('grad_norm_below_1e-6', prefix, ()))
    entries = []
    for key, norm in theirs.items():
        ours = gradients[key].double().norm().item() if key in gradients else 0.0
        if not norm or norm < NOISE or key in noise:
            norm = norm or 0.0
            gap = abs(norm - (exact.get(key) or 0.0)) if exact else 0.0
            entries.append((abs(ours - norm), ROUNDING + gap, key))
        else:
            gap = relative(exact[key], norm) if exact.get(key) else lost
            entries.append((relative(ours, norm), SCALARS + gap, key))
    return _worst(prefix + name, (len(theirs),), entries)
