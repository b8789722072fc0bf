"""Several captions of an image as one sample of the detector."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets.transforms import PackDetInputs

from ..texts_per_image import check_texts_per_image, deal
from ..transforms.cached_prefixes import CachedPrefixes
from ..transforms.each_text import SPAN_OF_LABELS
from .checked import CheckedDetection

OF_IMAGE = ('img_path', 'width', 'height')


class SharedImages(CheckedDetection):
    """Base of datasets whose records are a text about an image, of which an image has several.

    Args:
        texts_per_image: texts that share an image, which is then read, augmented and encoded once
            for all of them. With more than 1, a sample is an image with up to that many texts
            (``texts``, the fields of each), the boxes of all, and a pipeline that ends in
            ``EachText``; the batch size of a dataloader counts images. An image with n texts makes
            n / ``texts_per_image`` samples, rounded up, of nearly equally many texts, so that an
            epoch has every text once. For training only.

    Raises:
        TypeError, ValueError: ``texts_per_image`` is not a number of texts, or it is given for
            tests, or the pipeline packs all texts as one.
    """

    def __init__(self, *args, texts_per_image: int = 1, **kwargs) -> None:
        self.texts_per_image = check_texts_per_image(
            texts_per_image, kwargs.get('test_mode', False)
        )
        super().__init__(*args, **kwargs)
        steps = self.pipeline.transforms
        if len(steps) == 1 and isinstance(steps[0], CachedPrefixes):
            steps = steps[0].transforms
        if self.texts_per_image > 1 and any(isinstance(step, PackDetInputs) for step in steps):
            raise ValueError(
                f'texts_per_image={texts_per_image} needs a pipeline that packs each text: end it '
                "with dict(type='EachText', transforms=[…]), with PackDetInputs and what chooses "
                'or writes prompts inside'
            )

    def filter_data(self) -> Sequence[dict]:
        """The records that are used, those of an image together.

        Raises:
            NoSamplesError: none is left.
        """
        records = super().filter_data()
        if self.texts_per_image == 1:
            return records
        groups = deal((record['img_path'] for record in records), self.texts_per_image)
        return self.collect(together([records[i] for i in group]) for group in groups)


def together(records: list[dict]) -> dict:
    """One record of several of the same image.

    Args:
        records: with ``instances``.

    Returns:
        The fields of the image, ``instances`` of all texts, whose labels are counted through, and
        ``texts``: the other fields of each, and the range of its labels.
    """
    texts, instances, first = [], [], 0
    for record in records:
        own = record['instances']
        last = first + 1 + max((box['bbox_label'] for box in own), default=-1)
        instances += [dict(box, bbox_label=box['bbox_label'] + first) for box in own]
        # phrase_ids repeat the labels of the boxes, which a pipeline may drop
        left_out = ('instances', 'phrase_ids', *OF_IMAGE)
        fields = {key: value for key, value in record.items() if key not in left_out}
        texts.append({**fields, SPAN_OF_LABELS: (first, last)})
        first = last
    image = {key: records[0][key] for key in OF_IMAGE if key in records[0]}
    return dict(image, texts=texts, instances=instances)


def records_of_texts(record: Mapping[str, Any]) -> list[dict]:
    """The records of the single texts of a sample, the opposite of :func:`together`.

    Args:
        record: of a dataset, with one text or several.
    """
    if 'texts' not in record:
        return [dict(record)]
    image = {key: value for key, value in record.items() if key not in ('texts', 'instances')}
    found = []
    for text in record['texts']:
        first, last = text[SPAN_OF_LABELS]
        own = [
            dict(box, bbox_label=box['bbox_label'] - first)
            for box in record['instances']
            if first <= box['bbox_label'] < last
        ]
        fields = {key: value for key, value in text.items() if key != SPAN_OF_LABELS}
        found.append({**image, **fields, 'instances': own})
    return found
