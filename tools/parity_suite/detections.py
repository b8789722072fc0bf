"""Anchors, phrase scores and final detections, compared as sets."""

import re
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiber_mmdet.models.detection.postprocess import detections, phrase_scores

from .compare import CANCELLATION, OUTPUTS, Row, Table, equal_row, fault_row, scaled_row
from .features import Outputs
from .fixture import Fixture

# Test settings under which the fixtures were recorded.
SETTINGS = {'det': dict(score_thr=0.05, nms_pre=1000), 'detr': dict(score_thr=0.0, nms_pre=3000)}
COMMON = dict(iou_threshold=0.6, max_per_img=100)
NO_LIMIT = 10**9

BOX, SCORE = 0.05, 1e-4  # pixels; detections that agree within both are the same
UNMATCHED = 0.02
# In NMS of thousands of boxes, one flipped decision starts a chain (seen: 4 of 739 boxes).
COUNTS = 0.01
# A decision of the reference that is this close to its threshold can go either way in float32.
NEAR = 1e-4

_NAME = re.compile(r'(detr?)(\d+)_(boxes|scores|labels)')


def label_positions(described: dict | list[dict], batch: int) -> list[list[list[int]]]:
    """Token positions of the labels 1 … K of every image.

    Args:
        described: ``{'1': [1, 2], …}``, by label from 1, for all images; or a list
            of these, one per image.
        batch: number of images.

    Returns:
        Per image, K lists of token positions; empty for a label without a name.
    """
    maps = described if isinstance(described, list) else [described] * batch
    maps = [{int(label): list(tokens) for label, tokens in one.items()} for one in maps]
    return [[one.get(label, []) for label in range(1, max(one, default=0) + 1)] for one in maps]


def anchor_grids(model: nn.Module, outputs: Outputs) -> list[Tensor]:
    """Inclusive anchors (N_l, 4) of each level, x1, y1, x2, y2."""
    return model.bbox_head.level_anchors(outputs.head[1])


def aggregate(outputs: Outputs, labels: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Phrase scores (B, anchors of all levels, K) before centerness."""
    logits = torch.cat(outputs.head[0], 1)
    return torch.stack([phrase_scores(x, tokens) for x, tokens in zip(logits, labels)])


@torch.no_grad()
def detect(
    model: nn.Module,
    outputs: Outputs,
    labels: list[list[list[int]]],
    sizes: Sequence[tuple[int, int]],
    kind: str,
) -> dict[str, np.ndarray]:
    """Detections of every image with one of the :data:`SETTINGS`.

    Args:
        model: the detector.
        outputs: its forward pass.
        labels: see :func:`label_positions`.
        sizes: (height, width) of each image without padding.
        kind: key of the settings, with which the names begin.

    Returns:
        ``{kind}{i}_boxes`` (M, 4) inclusive xyxy in the unpadded image, ``_scores``
        (M,), ``_labels`` (M,) from 1; and ``{kind}_counts`` (B, 3): before NMS, after
        it, after the cut.
    """
    head, found = model.bbox_head, {}
    head.test_cfg = dict(SETTINGS[kind], **COMMON)
    results = head.predict(
        outputs.levels,
        outputs.text,
        outputs.mask,
        labels,
        [dict(img_shape=size) for size in sizes],
        rescale=False,
    )
    logits, deltas, centerness = outputs.head
    anchors = anchor_grids(model, outputs)
    counts = []
    for i, (result, tokens, size) in enumerate(zip(results, labels, sizes)):
        found.update(
            {
                f'{kind}{i}_boxes': result.bboxes.numpy(),
                f'{kind}{i}_scores': result.scores.numpy(),
                f'{kind}{i}_labels': result.labels.numpy() + 1,
            }
        )
        boxes = [head.bbox_coder.decode(a, d[i].flatten(1).t()) for a, d in zip(anchors, deltas)]
        counts.append(
            [
                len(
                    detections(
                        [x[i] for x in logits],
                        boxes,
                        [c[i].flatten() for c in centerness],
                        tokens,
                        size,
                        **SETTINGS[kind],
                        iou_threshold=threshold,
                        max_per_img=NO_LIMIT,
                    )
                )
                for threshold in (2.0, COMMON['iou_threshold'])
            ]
            + [len(result)]
        )
    found[f'{kind}_counts'] = np.array(counts)
    return found


def match(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    """Pairs (our index, their index) of equal detections, each used once.

    Args:
        ours: ``boxes`` (M, 4), ``scores`` (M,), ``labels`` (M,).
        theirs: the same, of the reference.
    """
    gap = np.abs(ours['boxes'][:, None] - theirs['boxes'][None]).max(-1, initial=0)
    score = np.abs(ours['scores'][:, None] - theirs['scores'][None])
    same = (ours['labels'][:, None] == theirs['labels'][None]) & (gap <= BOX) & (score <= SCORE)
    pairs, used = [], set()
    for j in range(len(theirs['labels'])):
        for i in sorted(np.flatnonzero(same[:, j]), key=lambda i: gap[i, j]):
            if i not in used:
                used.add(i)
                pairs.append((int(i), j))
                break
    return pairs


def compare_detections(
    table: Table, model: nn.Module, outputs: Outputs, sizes: Sequence[tuple[int, int]]
) -> Iterator[Row]:
    """Rows of anchors, phrase scores, detections and their counts."""
    fixture, prefix = table.fixture, table.prefix
    for name in table.take(('cell_anchors', 'anchors_image0').__contains__):
        grids = anchor_grids(model, outputs)
        ours = torch.cat(grids) if name == 'anchors_image0' else torch.stack([g[0] for g in grids])
        yield equal_row(fixture, name, ours)
    if not table.needs('agg_scores', 'det'):
        return
    described = fixture.meta.get('positive_map_label_to_token')
    if described is None:
        return  # the arrays stay in the table and fail
    labels = label_positions(described, len(sizes))
    for name in table.take('agg_scores'.__eq__):
        yield _compare_scores(fixture, prefix, name, aggregate(outputs, labels))
    for kind in SETTINGS:
        names = table.take(partial(_is_of, kind, len(sizes)))
        if names:
            found = detect(model, outputs, labels, sizes, kind)
            margins = fixture.note(f'{kind}_margins', prefix)
            yield from _compare_kind(fixture, prefix, kind, names, found, margins)


def _is_of(kind: str, images: int, name: str) -> bool:
    """Whether an array holds detections or counts of a setting, of one of the images."""
    found = _NAME.fullmatch(name)
    of_image = found and found[1] == kind and int(found[2]) < images
    return name == f'{kind}_counts' or bool(of_image)


def _compare_scores(fixture: Fixture, prefix: str, name: str, ours: Tensor) -> Row:
    """Row of the phrase scores, means of the sigmoids of token logits.

    Where logits move by d, a mean p of their sigmoids moves by at most p (1 - p) d: so much of
    what the logits lost to rounding is left in it.
    """
    name, theirs = prefix + name, fixture[prefix + name]
    if ours.dim() == theirs.ndim == 3 and theirs.shape[-1] > ours.shape[-1]:
        ours = F.pad(ours, (0, theirs.shape[-1] - ours.shape[-1]))
    unnamed = np.isnan(theirs)  # a label without tokens: NaN there, 0 here
    logits = [n for n in fixture.names if n.startswith(f'{prefix}dot_product_logits_p')]
    slope = float((theirs * (1 - theirs))[~unnamed].max(initial=0))
    lost = slope * max(map(fixture.rounding, logits), default=0.0)
    if ours.shape != theirs.shape or not unnamed.any():
        return scaled_row(fixture, name, ours, is_output=True, rounding=lost)
    gap = np.abs(np.where(unnamed, 0, ours.numpy() - theirs)).max()
    scale = float(theirs[~unnamed].std())
    tolerance = max(OUTPUTS, CANCELLATION * lost / scale)
    return Row(name, theirs.shape, float(gap) / scale, tolerance, is_output=True)


def _compare_kind(
    fixture: Fixture,
    prefix: str,
    kind: str,
    names: list[str],
    found: dict[str, np.ndarray],
    margins: list | None,
) -> Iterator[Row]:
    """Rows of one test setting, image by image."""
    for i in sorted({int(m[2]) for n in names if (m := _NAME.fullmatch(n))}):
        stem = f'{kind}{i}_'
        parts = [p for p in ('boxes', 'scores', 'labels') if stem + p in names]
        if any(prefix + stem + p not in fixture for p in ('boxes', 'scores', 'labels')):
            yield from (
                fault_row(prefix + stem + p, 'boxes, scores and labels belong together')
                for p in parts
            )
            continue
        ours, theirs = (
            {p: source(stem + p) for p in ('boxes', 'scores', 'labels')}
            for source in (found.__getitem__, lambda n: fixture[prefix + n])
        )
        near = margins is None or min(np.ravel(margins[i])) <= NEAR
        yield from _set_rows(prefix + stem, parts, ours, theirs, near)
    for name in (n for n in names if n.endswith('_counts')):
        yield _count_row(prefix + name, found[name], fixture[prefix + name])


def _set_rows(
    stem: str,
    parts: list[str],
    ours: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
    near: bool,
) -> Iterator[Row]:
    """Rows of one image.

    Args:
        stem: beginning of the arrays' names.
        parts: what to report of 'boxes', 'scores' and 'labels'.
        ours: boxes, scores and labels, see :func:`match`.
        theirs: the same, of the reference.
        near: whether a decision of the reference is, or may be, close to its threshold.
    """
    pairs = match(ours, theirs)
    i, j = (list(column) for column in zip(*pairs)) if pairs else ([], [])
    full = len(theirs['scores']) >= COMMON['max_per_img']
    cut = theirs['scores'].min(initial=1.0) if full else 0.0
    lost = [
        found['scores'][k]
        for found, used in ((ours, i), (theirs, j))
        for k in range(len(found['scores']))
        if k not in set(used)
    ]
    unexplained = 0 if near else sum(score > cut + SCORE for score in lost)
    total = max(len(ours['labels']), len(theirs['labels']))
    errors = dict(
        boxes=(np.abs(ours['boxes'][i] - theirs['boxes'][j]).max(initial=0), BOX),
        scores=(np.abs(ours['scores'][i] - theirs['scores'][j]).max(initial=0), SCORE),
        labels=((total - len(pairs)) / max(total, 1), UNMATCHED),
    )
    for part in parts:
        error, tolerance = errors[part]
        note = f'{len(pairs)} of {total} matched' if part == 'labels' else ''
        fault = f'{unexplained} unmatched far from the cut' if unexplained else ''
        yield Row(
            stem + part,
            theirs[part].shape,
            float(error),
            tolerance,
            note=note,
            fault=fault if part == 'labels' else '',
        )


def _count_row(name: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Largest relative difference of the counts."""
    if ours.shape != theirs.shape:
        return fault_row(name, f'our shape is {ours.shape}', theirs.shape)
    error = np.abs(ours - theirs) / np.maximum(theirs, 1)
    return Row(name, theirs.shape, float(error.max(initial=0)), COUNTS)
