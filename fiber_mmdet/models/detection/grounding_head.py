"""Grounding head: ATSS boxes whose classes are the tokens of a prompt (section 3.3)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import Scale
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, reduce_mean
from mmengine.model import BaseModule, ModuleList, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from fiber_mmdet.arguments import former_arguments, strict_arguments

from .boxes import to_exclusive, to_inclusive
from .dyhead import NORM_GROUPS, DyHeadBlock
from .postprocess import detections

ANCHOR_SCALE = 8  # side of an anchor in strides
# The paper's losses
TOKEN_LOSS = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
BOX_LOSS = dict(type='SafeGIoULoss', loss_weight=2.0)
CENTERNESS_LOSS = dict(type='CrossEntropyLoss', use_sigmoid=True)


@MODELS.register_module()
@former_arguments(norm_groups=NORM_GROUPS, anchor_scale=ANCHOR_SCALE)
@strict_arguments
class GroundingHead(BaseModule):
    """Dynamic tower, dot-product token logits, boxes and centerness.

    Differs from mmdet's ``ATSSVLFusionHead``: see ``DyHeadBlock`` (tower),
    ``InclusiveBoxCoder`` and ``SafeGIoULoss`` (boxes), ``postprocess``
    (ranking, NMS); positives are counted once over the batch, the box loss is
    normalised by the plain sum of centerness targets, and every assigned anchor
    regresses, also when its phrase has no token left.

    Args:
        channels: channels of the pyramid and the tower.
        text_dim: channels of the text states.
        num_blocks: blocks of the tower.
        deformable: deformable convolutions in the tower.
        strides: pixels per position of each level.
        max_tokens: the longest prompt, specials included.
        background_token: train negatives to fire on the last of ``max_tokens``
            positions, as the reference does; it only matters for prompts that fill
            all of them.
        log_scale: start of the learned scale; the dot products are divided by its exponential.
        with_cp: recompute the tower's activations in the backward pass.
        bbox_coder: config of the box coder, by default an :class:`InclusiveBoxCoder`.
        loss_token: classification loss over tokens.
        loss_bbox: box loss.
        loss_centerness: centerness loss.
        train_cfg: ``dict(assigner=…)``.
        test_cfg: ``score_thr``, ``nms_pre``, ``iou_threshold``, ``max_per_img``
            and ``exclusive_boxes`` (add one pixel to right and bottom edges in
            the original image, so that width = x2 - x1: COCO's metric wants
            it, the other benchmarks of the paper do not). Other keys belong to
            the detector.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        channels: int = 256,
        text_dim: int = 768,
        num_blocks: int = 6,
        deformable: bool = True,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        max_tokens: int = 256,
        background_token: bool = True,
        log_scale: float = 0.0,
        with_cp: bool = False,
        bbox_coder: dict | None = None,
        loss_token: dict = TOKEN_LOSS,
        loss_bbox: dict = BOX_LOSS,
        loss_centerness: dict = CENTERNESS_LOSS,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.max_tokens = max_tokens
        self.background_token = background_token
        self.with_cp = with_cp
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg or {}
        self.anchors = TASK_UTILS.build(
            dict(
                type='AnchorGenerator',
                ratios=[1.0],
                octave_base_scale=ANCHOR_SCALE,
                scales_per_octave=1,
                strides=list(strides),
                center_offset=0.5,
            )
        )
        self.bbox_coder = TASK_UTILS.build(bbox_coder or dict(type='InclusiveBoxCoder'))
        self.loss_token = MODELS.build(loss_token)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_centerness = MODELS.build(loss_centerness)
        if train_cfg:
            self.assigner = TASK_UTILS.build(train_cfg['assigner'])

        self.tower = ModuleList(DyHeadBlock(channels, deformable) for _ in range(num_blocks))
        self.box_conv = nn.Conv2d(channels, 4, 1)
        self.centerness_conv = nn.Conv2d(channels, 1, 1)
        self.scales = ModuleList(Scale(1.0) for _ in strides)
        self.token_proj = nn.Linear(text_dim, channels)
        self.log_scale = nn.Parameter(torch.full((1,), log_scale))
        self.token_bias = nn.Parameter(torch.zeros(text_dim))
        self.token_bias0 = nn.Parameter(torch.full((1,), -math.log(99)))

    def init_weights(self) -> None:
        """Normal (0.01) prediction convolutions; the tower initialises itself."""
        super().init_weights()
        for conv in (self.box_conv, self.centerness_conv):
            normal_init(conv, std=0.01)

    # ------------------------------------------------------------- forward
    def forward(
        self, levels: Sequence[Tensor], text: Tensor, mask: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Raw predictions of every level.

        Args:
            levels: (B, C, H_l, W_l) pyramid, fine to coarse.
            text: (B, L, text_dim) text states.
            mask: (B, L) bool, True at real tokens.

        Returns:
            Lists over levels of token logits (B, H_l * W_l, L), box deltas
            (B, 4, H_l, W_l) and centerness logits (B, 1, H_l, W_l).
        """
        for block in self.tower:
            if self.with_cp and self.training:
                levels = torch.utils.checkpoint.checkpoint(block, levels, use_reentrant=False)
            else:
                levels = block(levels)
        words = F.normalize(text * mask[..., None], dim=-1)
        keys = self.token_proj(words / 2) / self.log_scale.exp()
        bias = words @ self.token_bias + self.token_bias0
        return multi_apply(self._predict_level, levels, self.scales, keys=keys, bias=bias)

    def _predict_level(
        self, x: Tensor, scale: Scale, keys: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits = x.flatten(2).transpose(1, 2) @ keys.transpose(1, 2) + bias[:, None]
        logits = logits.clamp(min=-50000, max=50000)
        return logits, scale(self.box_conv(x)), self.centerness_conv(x)

    def level_anchors(self, deltas: Sequence[Tensor]) -> list[Tensor]:
        """Anchors of all positions.

        Args:
            deltas: (B, 4, H_l, W_l) box deltas of each level.

        Returns:
            (H_l * W_l, 4) inclusive, xyxy in pixels, of each level.
        """
        grids = self.anchors.grid_priors([d.shape[-2:] for d in deltas], device=deltas[0].device)
        return [to_inclusive(grid) for grid in grids]

    # ---------------------------------------------------------------- loss
    def loss(
        self, levels: Sequence[Tensor], text: Tensor, mask: Tensor, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            levels: (B, C, H_l, W_l) pyramid.
            text: (B, L, text_dim) text states.
            mask: (B, L) bool, True at real tokens.
            batch_data_samples: each with ``gt_instances`` holding ``bboxes``
                (G, 4) inclusive xyxy in pixels and ``positive_maps`` (G, L) bool.

        Returns:
            ``loss_token``, ``loss_bbox`` and ``loss_centerness``, scalars.
        """
        outs = self.forward(levels, text, mask)
        gts = [sample.gt_instances for sample in batch_data_samples]
        return self.loss_by_feat(*outs, mask, gts)

    def loss_by_feat(
        self,
        token_logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        centerness: Sequence[Tensor],
        mask: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict[str, Tensor]:
        """Losses from raw predictions, in fp32.

        Args:
            token_logits: (B, H_l * W_l, L) of each level, see :meth:`forward`.
            deltas: (B, 4, H_l, W_l) of each level.
            centerness: (B, 1, H_l, W_l) of each level.
            mask: (B, L) bool, True at real tokens.
            batch_gt_instances: per image, the ground truth, see :meth:`loss`.

        Returns:
            ``loss_token``, ``loss_bbox`` and ``loss_centerness``, scalars.
        """
        level_anchors = self.level_anchors(deltas)
        matched = torch.stack([self.assign(level_anchors, gt) for gt in batch_gt_instances])
        logits = torch.cat(list(token_logits), 1).float()
        flat_deltas = torch.cat([d.flatten(2).transpose(1, 2) for d in deltas], 1).float()
        flat_centerness = torch.cat([c.flatten(1) for c in centerness], 1).float()
        anchors = torch.cat(level_anchors)

        positive = matched >= 0
        num_pos = reduce_mean(positive.sum().float()).clamp(min=1).item()
        targets = self._token_targets(matched, batch_gt_instances, logits)
        real = mask[:, None].expand_as(logits)
        loss_token = self.loss_token(logits[real], targets[real], avg_factor=num_pos)

        boxes = torch.cat(
            [gt.bboxes[m[p]] for gt, m, p in zip(batch_gt_instances, matched, positive)]
        ).to(flat_deltas)
        pos_anchors = anchors.expand(len(matched), -1, -1)[positive]
        quality = centerness_target(pos_anchors, boxes)
        total_quality = reduce_mean(quality.sum()).item()
        if len(boxes):
            decoded = self.bbox_coder.decode(pos_anchors, flat_deltas[positive])
            loss_bbox = self.loss_bbox(decoded, boxes, weight=quality, avg_factor=total_quality)
            loss_centerness = self.loss_centerness(
                flat_centerness[positive], quality, avg_factor=num_pos
            )
        else:  # keeps every parameter in the graph of a batch without boxes
            loss_bbox = flat_deltas.sum() * 0
            loss_centerness = flat_centerness.sum() * 0
        return dict(loss_token=loss_token, loss_bbox=loss_bbox, loss_centerness=loss_centerness)

    def assign(self, anchors: Sequence[Tensor], gt: InstanceData) -> Tensor:
        """ATSS: index of the box each anchor is trained on.

        Args:
            anchors: (N_l, 4) per level, inclusive xyxy in pixels.
            gt: ``bboxes`` (G, 4) inclusive xyxy in pixels.

        Returns:
            (sum of N_l,) int64, -1 for background.
        """
        boxes = gt.bboxes.float()
        result = self.assigner.assign(
            InstanceData(priors=torch.cat(list(anchors))),
            [len(a) for a in anchors],
            InstanceData(
                bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
            ),
        )
        return result.gt_inds - 1

    def _token_targets(self, matched: Tensor, gts: InstanceList, logits: Tensor) -> Tensor:
        """(B, N, L): row of the positive map for positives, background otherwise."""
        rows = []
        for index, gt in zip(matched, gts):
            background = logits.new_zeros(1, logits.shape[2])
            if self.background_token and logits.shape[2] == self.max_tokens:
                background[:, -1] = 1
            table = torch.cat([gt.positive_maps.to(logits), background])
            rows.append(table[index])  # index -1 is the background row
        return torch.stack(rows)

    # ------------------------------------------------------------- predict
    def predict(
        self,
        levels: Sequence[Tensor],
        text: Tensor,
        mask: Tensor,
        label_tokens: Sequence[Sequence[Sequence[int]]],
        metas: Sequence[dict],
        rescale: bool = True,
    ) -> InstanceList:
        """Detections of a batch of (image, prompt) pairs.

        Args:
            levels: (B, C, H_l, W_l) pyramid.
            text: (B, L, text_dim) text states.
            mask: (B, L) bool, True at real tokens.
            label_tokens: per pair, token positions of each label.
            metas: per pair, ``img_shape`` and, to rescale, ``scale_factor``.
            rescale: return boxes in the original image.

        Returns:
            Per pair, ``bboxes`` (M, 4), ``scores`` (M,), ``labels`` (M,).
        """
        token_logits, deltas, centerness = self.forward(levels, text, mask)
        anchors = self.level_anchors(deltas)
        boxes = [
            self.bbox_coder.decode(a, d.flatten(2).transpose(1, 2).float())
            for a, d in zip(anchors, deltas)
        ]
        return [
            self._predict_single(
                [t[i].float() for t in token_logits],
                [b[i] for b in boxes],
                [c[i].flatten().float() for c in centerness],
                label_tokens[i],
                meta,
                rescale,
            )
            for i, meta in enumerate(metas)
        ]

    def _predict_single(
        self,
        token_logits: Sequence[Tensor],
        boxes: Sequence[Tensor],
        centerness: Sequence[Tensor],
        label_tokens: Sequence[Sequence[int]],
        meta: dict,
        rescale: bool,
    ) -> InstanceData:
        limits = {
            key: self.test_cfg[key]
            for key in ('score_thr', 'nms_pre', 'iou_threshold', 'max_per_img')
            if key in self.test_cfg
        }
        found = detections(
            token_logits, boxes, centerness, label_tokens, meta['img_shape'][:2], **limits
        )
        if rescale:
            found.bboxes = found.bboxes / found.bboxes.new_tensor(meta['scale_factor']).repeat(2)
        if self.test_cfg.get('exclusive_boxes', False):
            found.bboxes = to_exclusive(found.bboxes)
        return found


def centerness_target(anchors: Tensor, boxes: Tensor) -> Tensor:
    """How central each anchor lies in its box (FCOS).

    Args:
        anchors: (N, 4) xyxy in pixels.
        boxes: (N, 4) xyxy in pixels, anchor centres strictly inside.

    Returns:
        (N,) in (0, 1].
    """
    center = (anchors[:, :2] + anchors[:, 2:]) / 2
    low, high = center - boxes[:, :2], boxes[:, 2:] - center
    ratio = torch.minimum(low, high) / torch.maximum(low, high)
    return ratio.prod(-1).sqrt()
