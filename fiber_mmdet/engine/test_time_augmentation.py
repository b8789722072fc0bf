"""Test-time augmentation: several sizes of an image and its mirror image, one set of boxes."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor

from fiber_mmdet.datasets.dataset_tree import pipelined_datasets, type_name
from fiber_mmdet.models.detection import FIBERDetector
from fiber_mmdet.models.detection.boxes import to_exclusive, to_inclusive
from fiber_mmdet.models.detection.postprocess import IOU_THRESHOLD, MAX_PER_IMG, labelwise_nms

SIZES = (1.0, 0.75, 1.25)  # times the side of the test pipeline; the first is what metrics see
RESIZES = ('ShortSideResize', 'Resize', 'FixScaleResize')
META_KEYS = ('flip', 'flip_direction')


class AugmentationError(ValueError):
    """A config that cannot be tested with augmentation; the message says what to set."""


@MODELS.register_module()
class FIBERTTAModel(DetTTAModel):
    """A detector that looks at each image several times and merges what it finds.

    The views come from the pipeline (see :func:`augmented_test`). Boxes of all views are merged by
    the detector's own NMS, label by label. Differs from mmdet's ``DetTTAModel``: mirrored boxes are
    mirrored back by the detector's rule, under which the pixels of a row of W are 0 to W - 1; the
    merged boxes keep ``label_names``; and NMS and limit are by default those of the detector.

    Args:
        module: config of a :class:`FIBERDetector`.
        tta_cfg: optional ``iou_threshold`` and ``max_per_img``; mmdet's ``nms=dict(iou_threshold)``
            is read as well.
        data_preprocessor: as in mmengine.

    Raises:
        AugmentationError: another model.
    """

    def __init__(
        self, module: Any, tta_cfg: Mapping | None = None, data_preprocessor: Any = None
    ) -> None:
        super().__init__(tta_cfg=tta_cfg, module=module, data_preprocessor=data_preprocessor)
        if not isinstance(self.module, FIBERDetector):
            raise AugmentationError(
                f'FIBERTTAModel merges the boxes of a FIBERDetector, not of a '
                f'{type(self.module).__name__}'
            )
        given = dict(tta_cfg or {})
        nms = given.get('nms') or {}
        own = self.module.test_cfg or {}
        self.exclusive = bool(own.get('exclusive_boxes', False))
        self.iou_threshold = given.get(
            'iou_threshold', nms.get('iou_threshold', own.get('iou_threshold', IOU_THRESHOLD))
        )
        self.max_per_img = given.get('max_per_img', own.get('max_per_img', MAX_PER_IMG))

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Merge the predictions of each image.

        Args:
            data_samples_list: per image, a sample of each view.

        Returns:
            Per image, the sample of the first view with the boxes of all.
        """
        return [self._merged(views) for views in data_samples_list]

    def _merged(self, views: Sequence[DetDataSample]) -> DetDataSample:
        found = [view.pred_instances for view in views]
        boxes, scores, labels = labelwise_nms(
            torch.cat([self._unmirrored(view) for view in views]),
            torch.cat([instances.scores for instances in found]),
            torch.cat([instances.labels for instances in found]),
            self.iou_threshold,
            self.max_per_img,
        )
        merged = InstanceData(
            bboxes=to_exclusive(boxes) if self.exclusive else boxes, scores=scores, labels=labels
        )
        phrases = self.module.phrases_of(views[0])  # not the mirrored words of another view
        merged.label_names = [phrases[label] for label in labels.tolist()]
        views[0].pred_instances = merged
        return views[0]

    def _unmirrored(self, view: DetDataSample) -> Tensor:
        """(M, 4) inclusive boxes of a view, xyxy in the original image."""
        boxes = view.pred_instances.bboxes
        if self.exclusive:
            boxes = to_inclusive(boxes)
        if not view.get('flip', False):
            return boxes
        # pixel x of the resized image, W' wide, was W' - 1 - x
        last = view.ori_shape[1] - 1 / view.scale_factor[0]
        boxes = boxes.clone()
        boxes[:, [0, 2]] = last - boxes[:, [2, 0]]
        return boxes


def augmented_test(config: Config) -> dict[str, Any]:
    """What has to change in a config for ``tools/test.py --tta``.

    A ``tta_model`` and a ``tta_pipeline`` of the config are used as they are, as in mmdet.
    Without them, the model is a :class:`FIBERTTAModel`, and each test dataset keeps its pipeline,
    of which every image passes six times: at the size of the pipeline and a quarter smaller and
    larger, each as it is and mirrored. "Left" and "right" are exchanged in the prompts of mirrored
    images. The first view, whose truth a metric sees, is that of the pipeline.

    Differs from mmdet's ``--tta``, which mirrors images under the same words, and knows only a
    single dataset.

    Args:
        config: of a test, other options already merged.

    Returns:
        Options to merge into the config, by dotted keys.

    Raises:
        AugmentationError: the model has no boxes to merge, or a pipeline cannot be augmented.
    """
    model: Any = config.get('model') or {}
    if model.get('type') and type_name(model) == 'FIBERForVL':
        raise AugmentationError(
            '--tta merges boxes, and model.type=FIBERForVL has none: test it without --tta'
        )
    wrapper = dict(config.get('tta_model') or dict(type='FIBERTTAModel'))
    changes: dict[str, Any] = {
        'model': {**wrapper, 'module': model.to_dict(), '_delete_': True},
    }
    given = config.get('tta_pipeline')
    for dataset, place in pipelined_datasets(config, 'test'):
        steps = dataset.get('pipeline')
        if steps:
            key = f'{place}.pipeline'.replace('[', '.').replace(']', '')
            changes[key] = deepcopy(given) if given else augmented_pipeline(steps, place)
    return changes


def augmented_pipeline(steps: Sequence[Mapping], place: str) -> list[dict]:
    """A test pipeline with ``TestTimeAug`` from the step on that resizes.

    Args:
        steps: configs of the transforms; the last one packs.
        place: of the dataset in its config, for messages.

    Raises:
        AugmentationError: no transform resizes to a fixed size, or an image is not read.
    """
    resizing = [i for i, step in enumerate(steps) if type_name(step) in RESIZES]
    kinds = [type_name(step) for step in steps]
    if len(resizing) != 1 or not steps[resizing[0]].get('scale') or kinds[-1] != 'PackDetInputs':
        raise AugmentationError(
            f'{place}.pipeline is {", ".join(kinds)}: --tta needs one of {", ".join(RESIZES)} with '
            'a scale in it, and PackDetInputs at its end. Set tta_pipeline in the config otherwise'
        )
    at = resizing[0]
    plain = [dict(step) for step in steps]
    pack = plain[-1]
    if 'meta_keys' in pack:
        pack['meta_keys'] = tuple(dict.fromkeys((*pack['meta_keys'], *META_KEYS)))
    views = [
        list(_sizes(plain[at])),
        *([step] for step in plain[at + 1 : -1]),
        # last, when the prompt is complete
        [dict(type='CaptionFlip', prob=p, swap_words=True) for p in (0.0, 1.0)],
        [pack],
    ]
    return [*plain[:at], dict(type='TestTimeAug', transforms=views)]


def _sizes(resize: Mapping) -> Iterator[dict]:
    for factor in SIZES:
        scale = tuple(round(side * factor) for side in resize['scale'])
        yield dict(resize, scale=scale)
