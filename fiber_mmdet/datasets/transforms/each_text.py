"""The end of a pipeline for images with several prompts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import SampleGroup

from .inclusive_boxes import PER_BOX

# the field of a text with its range of labels: the first, and the one after the last
SPAN_OF_LABELS = 'span_of_labels'


@TRANSFORMS.register_module()
@strict_arguments
class EachText(BaseTransform):
    """Apply transforms that do not change the image to each prompt of it, and pack the results.

    The image is read, resized and flipped once, with the boxes of all its prompts, before this
    step. Inside it, each prompt has its own ``text``, boxes and labels.

    - ``texts_per_image`` of a grounding dataset gives an image several captions.
    - ``copies`` makes several prompts of one, for transforms that draw them: with
      ``SampleCategories`` inside, an image is trained with several choices of categories.

    Args:
        transforms: as in a pipeline; the last one is ``PackDetInputs``.
        copies: of the prompt of a sample that has only one.

    Raises:
        ValueError: ``copies`` is less than 1; for a sample, the last transform does not pack.
    """

    def __init__(self, transforms: Sequence[dict | Callable], copies: int = 1) -> None:
        if copies < 1:
            raise ValueError(f'EachText: copies={copies} must be at least 1')
        self.transforms = Compose(list(transforms))
        self.copies = copies

    def transform(self, results: dict) -> dict | None:
        """Pack one image.

        Args:
            results: with ``img``, ``gt_bboxes`` and ``gt_bboxes_labels`` of N boxes, and either a
                prompt or ``texts``.

        Returns:
            ``inputs``, (3, H, W) of the image, and ``data_samples``: a sample, or a group of
            them. None if the transforms drop all of them.

        Raises:
            ValueError: see the class.
        """
        parts = list(split_texts(results)) if 'texts' in results else [dict(results)] * self.copies
        inputs: Any = None
        samples: list = []
        for part in parts:
            part = dict(part)
            if samples:
                part.pop('img')  # packed already
            packed = self.transforms(part)
            if packed is None:
                continue
            if 'data_samples' not in packed:
                raise ValueError(
                    'EachText: the last of its transforms must be PackDetInputs, so that each '
                    'prompt becomes a sample'
                )
            inputs = packed['inputs'] if not samples else inputs
            samples.append(packed['data_samples'])
        if not samples:
            return None
        if len(parts) == 1:
            return dict(inputs=inputs, data_samples=samples[0])
        return dict(inputs=inputs, data_samples=SampleGroup(samples=samples))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms}, copies={self.copies})'


def split_texts(results: Mapping[str, Any]) -> Iterator[dict]:
    """The results of each text of an image, with its own boxes and labels.

    Args:
        results: inside a pipeline, with ``texts`` and labels that are counted through.
    """
    labels = results['gt_bboxes_labels']
    for text in results['texts']:
        first, last = text[SPAN_OF_LABELS]
        own = (labels >= first) & (labels < last)
        part = {key: value for key, value in results.items() if key != 'texts'}
        part.update((key, value) for key, value in text.items() if key != SPAN_OF_LABELS)
        for key in PER_BOX:
            if results.get(key) is not None:
                part[key] = results[key][own]
        part['gt_bboxes_labels'] = labels[own] - first
        yield part
