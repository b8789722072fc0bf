"""The detector as a direct port runs it: a full pass for each prompt and image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import nms
from mmdet.models.necks import FPN
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from fiber_mmdet.models import FIBERDetector
from fiber_mmdet.text import Prompt, label_tokens, parse_prompt, positive_map

from .plain_backbone import PlainBackbone
from .plain_layers import dynamic_block

Raw = tuple[list[Tensor], list[Tensor], list[Tensor]]


class PlainDetector:
    """Detection without prefixes, with texts padded to the longest prompt the model can read.

    Args:
        ours: the detector whose weights are used.
    """

    def __init__(self, ours: FIBERDetector) -> None:
        self.ours = ours
        self.backbone = PlainBackbone(ours.backbone)

    # ----------------------------------------------------------------- text
    def tokenize(self, prompts: Sequence) -> tuple[Tensor, Tensor, object]:
        """Ids and mask (B, max_tokens), and what the tokenizer returned."""
        tokens = self.ours.tokenizer(prompts)
        missing = self.ours.tokenizer.max_tokens - tokens.ids.shape[1]
        device = self.ours.data_preprocessor.device
        return (
            F.pad(tokens.ids, (0, missing), value=self.ours.tokenizer.pad_id).to(device),
            F.pad(tokens.mask, (0, missing)).to(device),
            tokens,
        )

    # ------------------------------------------------------------- features
    def raw(self, images: Tensor, ids: Tensor, mask: Tensor) -> Raw:
        """Token logits, box deltas and centerness of each level, as in GroundingHead.forward."""
        head = self.ours.bbox_head
        pyramid, _, text = self.backbone(images, ids, mask)
        levels = list(FPN.forward(self.ours.neck, pyramid))
        for block in head.tower:
            levels = dynamic_block(block, levels)
        words = F.normalize(text * mask[..., None], dim=-1)
        keys = head.token_proj(words / 2)
        bias = words @ head.token_bias + head.token_bias0
        logits = [
            (
                x.flatten(2).transpose(1, 2) @ keys.transpose(1, 2) / head.log_scale.exp()
                + bias[:, None]
            ).clamp(-50000, 50000)
            for x in levels
        ]
        deltas = [scale(head.box_conv(x)) for scale, x in zip(head.scales, levels)]
        return logits, deltas, [head.centerness_conv(x) for x in levels]

    # -------------------------------------------------------------- predict
    @torch.no_grad()
    def detect(
        self, images: Tensor, prompts: Sequence[Prompt], metas: Sequence[dict]
    ) -> list[InstanceData]:
        """One pass, image i under prompt i.

        Returns:
            Per image ``bboxes`` (M, 4) in pixels of the original image, ``scores``, ``labels``.
        """
        ids, mask, tokens = self.tokenize(prompts)
        logits, deltas, centerness = self.raw(images, ids, mask)
        head = self.ours.bbox_head
        boxes = [
            head.bbox_coder.decode(anchors, d.flatten(2).transpose(1, 2))
            for anchors, d in zip(head.level_anchors(deltas), deltas)
        ]
        return [
            self._postprocess(
                [x[i] for x in logits],
                [x[i] for x in boxes],
                [x[i].flatten() for x in centerness],
                label_tokens(tokens, i, prompt),
                metas[i],
            )
            for i, prompt in enumerate(prompts)
        ]

    def vocabulary(self, images: Tensor, passes: Sequence[Prompt], meta: dict) -> InstanceData:
        """One image under a vocabulary in chunks, with a full pass for each chunk."""
        found, offset = [], 0
        for prompt in passes:
            (result,) = self.detect(images, [prompt], [meta])
            result.labels = result.labels + offset
            found.append(result)
            offset += len(prompt.phrases)
        found = InstanceData.cat(found)
        return found[found.scores.argsort(descending=True, stable=True)]

    def _postprocess(self, logits, boxes, centerness, tokens_of, meta) -> InstanceData:
        """Probabilities of all tokens, their mean per label, then NMS as in the reference."""
        cfg = self.ours.bbox_head.test_cfg
        height, width = meta['img_shape'][:2]
        limit = boxes[0].new_tensor([width - 1, height - 1] * 2)
        kept = []
        for level_logits, level_boxes, level_centerness in zip(logits, boxes, centerness):
            p = level_logits.sigmoid()
            scores = p.new_zeros(len(p), len(tokens_of))
            for label, tokens in enumerate(tokens_of):
                if tokens:
                    scores[:, label] = p[:, list(tokens)].mean(-1)
            products = scores * level_centerness.sigmoid()[:, None]
            place, label = (scores > cfg['score_thr']).nonzero(as_tuple=True)
            best, order = products[place, label].topk(min(cfg['nms_pre'], len(place)))
            place, label = place[order], label[order]
            found = torch.minimum(level_boxes[place].clamp(min=0), limit)
            whole = (found[:, 2:] - found[:, :2] + 1 >= 0).all(-1)
            kept.append((found[whole], best[whole].sqrt(), label[whole]))
        boxes, scores, labels = map(torch.cat, zip(*kept))
        index = [
            rows[nms(boxes[rows], scores[rows], cfg['iou_threshold'], offset=1)[1]]
            for rows in ((labels == label).nonzero().flatten() for label in labels.unique())
        ]
        index = torch.cat(index) if index else labels
        index = index[scores[index].argsort(descending=True, stable=True)]
        if len(index) > cfg['max_per_img']:
            index = index[scores[index] >= scores[index[cfg['max_per_img'] - 1]]]
        boxes = boxes[index]
        if 'scale_factor' in meta:
            boxes = boxes / boxes.new_tensor(meta['scale_factor']).repeat(2)
        if cfg.get('exclusive_boxes', False):
            boxes = boxes + boxes.new_tensor([0, 0, 1, 1])
        return InstanceData(bboxes=boxes, scores=scores[index], labels=labels[index])

    # ---------------------------------------------------------------- train
    def loss(self, images: Tensor, samples: Sequence[DetDataSample]) -> dict[str, Tensor]:
        """Losses of a batch whose samples have lists of category names as ``text``."""
        prompts = [parse_prompt(sample.text) for sample in samples]
        ids, mask, tokens = self.tokenize(prompts)
        instances = []
        for i, (sample, prompt) in enumerate(zip(samples, prompts)):
            gt = sample.gt_instances
            maps = positive_map(tokens, i, [prompt.spans[label] for label in gt.labels.tolist()])
            maps = F.pad(maps, (0, mask.shape[1] - maps.shape[1]))
            instances.append(
                InstanceData(
                    bboxes=gt.bboxes, labels=gt.labels, positive_maps=maps.to(images.device)
                )
            )
        return self.ours.bbox_head.loss_by_feat(*self.raw(images, ids, mask), mask, instances)
