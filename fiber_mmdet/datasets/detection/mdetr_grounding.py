"""MDETR-style grounding files (Flickr30k, mixed, RefCOCO): captions with boxes for their spans."""

import os.path as osp
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from ..file_arguments import FileArgument
from .annotation_checks import box_fault, report_faults, spans_fit
from .coco_file import (
    CAPTION_BOX_FIELDS,
    CAPTION_FIELDS,
    NOUN_FIELDS,
    WRITTEN_FIELDS,
    images_with_boxes,
    open_coco,
)
from .flickr30k_entities import Flickr30kEntities
from .shared_images import SharedImages

Box = tuple[float, ...]  # x1, y1, x2, y2
# fields of an image record that its sample carries
IDENTITY = ('dataset_name', 'original_img_id', 'sentence_id')


@DATASETS.register_module()
class MDETRGroundingDataset(SharedImages):
    """Captions whose character spans are linked to boxes, read as published.

    One sample is one caption of one image. Labels are phrase indices:

    - training: each box is a phrase of its own with the spans of its ``tokens_positive``, or of
      ``tokens`` if the first box has that field. Equal phrases at different places stay separate.
      A box annotated twice, for two phrases, becomes one box with the spans of both, since an
      anchor can be matched to one box only.
    - ``test_mode``: the phrases are the record's ``tokens_positive_eval``. A box belongs to the
      phrases whose spans are among its own, or to those that its ``phrase_ids`` index if it has
      no spans. Files without ``tokens_positive_eval``, such as RefCOCO's, are queried as in
      training: with the spans of their boxes, or with the whole caption if a box has none.
      Records without any phrase are left out.
    - ``whole_caption``: the caption is the only phrase, label 0; in ``test_mode``, records without
      a box are left out.

    Samples carry ``text`` (the caption, verbatim), ``tokens_positive`` (one list of [begin, end)
    spans per label, or -1 for a whole caption), ``phrase_ids`` (label per box), and
    ``dataset_name``, ``original_img_id`` and ``sentence_id`` if the file has them.

    Boxes are x, y, x + w, y + h; :class:`InclusiveBoxes` converts them to FIBER's. Boxes outside
    the image or of zero size are dropped and counted in the log (a referring expression that loses
    its only box is not evaluated). In training the same happens to crowds and to boxes without a
    span or with one outside the caption, and blank captions are left out. ``category_id`` is not
    read: for the reference, values below 1 mean background; here every box counts.

    Args:
        image_dirs: folder of the images, below ``data_root``, for each ``data_source`` of the
            records (mixed file: coco and vg); without it, all are in ``data_prefix['img']``.
        whole_caption: query the caption as a whole (-1, as MM-Grounding-DINO evaluates RefCOCO)
            instead of the annotated spans (as FIBER does).
        entities_root: folder of the Flickr30k Entities release, below ``data_root``. With it, the
            ground truth in ``test_mode`` is what the reference evaluates on: the boxes of the
            release (MDETR's file merges boxes that nearly coincide). Samples then carry
            ``phrase_types``, a list of type names per label. Sentences none of whose phrases has
            a box are left out.
        with_descriptions: in training, samples also carry what language models wrote about their
            sentences, for :class:`DescribeCaptions`: ``sentence_descriptions``, the record's
            ``gpt3_outputs``, and ``phrase_nouns``, the boxes' ``nouns`` for each label, where the
            file has them.
        **kwargs: those of mmdet's ``BaseDetDataset``, ``outside_paths`` and
            ``texts_per_image`` (:class:`SharedImages`).

    Raises:
        ValueError: the file is malformed, a ``data_source`` has no folder, the release does not
            match the file, or arguments contradict each other.
    """

    FILES = (
        FileArgument('image_dirs', folder=True),
        FileArgument('entities_root', folder=True, inside=('Annotations', 'Sentences')),
    )
    PUBLISHED = {
        **{
            f'mdetr_annotations/final_flickr_separateGT_{split}.json': dict(images=1000)
            for split in ('val', 'test')
        },
        # one caption per referring expression
        **{
            f'mdetr_annotations/finetune_{name}.json': dict(captions=count)
            for name, count in (
                ('refcoco_train', 120624),
                ('refcoco_val', 10834),
                ('refcoco_testA', 5657),
                ('refcoco_testB', 5095),
                ('refcoco+_train', 120191),
                ('refcoco+_val', 10758),
                ('refcoco+_testA', 5726),
                ('refcoco+_testB', 4889),
                ('refcocog_train', 80512),
                ('refcocog_val', 4896),
                ('refcocog_test', 9602),
            )
        },
    }

    def __init__(
        self,
        *args,
        image_dirs: Mapping[str, str] | None = None,
        whole_caption: bool = False,
        entities_root: str | None = None,
        with_descriptions: bool = False,
        **kwargs,
    ) -> None:
        if with_descriptions and (whole_caption or kwargs.get('test_mode', False)):
            raise ValueError(
                'with_descriptions adds statements to the phrases of training captions: leave it '
                'out in test_mode and with whole_caption=True'
            )
        if entities_root is not None and (whole_caption or not kwargs.get('test_mode', False)):
            raise ValueError(
                'entities_root provides ground truth for the phrases of a caption in test_mode: '
                'leave it out in training and with whole_caption=True'
            )
        self.image_dirs = image_dirs
        self.whole_caption = whole_caption
        self.entities_root = entities_root
        self.with_descriptions = with_descriptions
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> Sequence[dict]:
        """Read the json file into mmdet's records.

        Raises:
            ValueError: see the class.
        """
        if self.image_dirs is None and 'img' not in self.data_prefix:
            raise ValueError(
                f'{self.ann_file}: the folder of its images is unknown: give '
                'data_prefix=dict(img=…), or image_dirs for a file of several sources'
            )
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            coco = open_coco(
                path,
                self.ann_file,
                CAPTION_FIELDS | (WRITTEN_FIELDS if self.with_descriptions else {}),
                CAPTION_BOX_FIELDS | (NOUN_FIELDS if self.with_descriptions else {}),
                annotated=not self.test_mode,
            )
        entities = None
        if self.entities_root is not None:
            entities = Flickr30kEntities(
                osp.join(self.data_root or '', self.entities_root), self.outside_paths
            )
        faults: Counter = Counter()
        annotated = len(coco.dataset['annotations'])
        records = self.collect(self._records(images_with_boxes(coco), entities, faults))
        report_faults(faults, self.ann_file)
        self.need_boxes(records, annotated)
        if self.with_descriptions and records and not any(map(_is_described, records)):
            raise ValueError(
                f'{self.ann_file}: with_descriptions=True, but no image has "gpt3_outputs" and no '
                'annotation "nouns": take the files with gpt in their names, or leave it out'
            )
        return records

    def _records(
        self,
        found: Iterable[tuple[dict, list[dict]]],
        entities: Flickr30kEntities | None,
        faults: Counter,
    ) -> Iterator[dict]:
        """Those of the images that are used."""
        for image, anns in found:
            if not self.test_mode and not image['caption'].strip():
                faults['of blank captions'] += len(anns)
                continue
            record = self._record(image, anns, entities, faults)
            asked = record['instances'] if self.whole_caption else record['tokens_positive']
            if asked or not self.test_mode:
                yield record

    def annotation_inputs(self) -> list[str]:
        """The file; none with the release, whose ten thousands of files a cache does not watch."""
        return [] if self.entities_root is not None else super().annotation_inputs()

    def _record(
        self, image: dict, anns: list[dict], entities: Flickr30kEntities | None, faults: Counter
    ) -> dict:
        extra: dict[str, Any] = {}
        spans: Any
        if entities is not None:
            spans, boxes, extra['phrase_types'] = self._of_release(image, entities)
        elif self.whole_caption:
            spans, boxes = -1, [(box, 0) for _, box in self._usable(image, anns, faults)]
        elif self.test_mode and image.get('tokens_positive_eval') is not None:
            spans, boxes = self._evaluated(image, anns, faults)
        else:
            spans, boxes, nouns = self._annotated(image, anns, faults)
            if self.with_descriptions:
                extra['sentence_descriptions'] = image.get('gpt3_outputs')
                extra['phrase_nouns'] = nouns if any(nouns) else None
        return dict(
            img_id=image['id'],
            img_path=self._image_path(image),
            width=image['width'],
            height=image['height'],
            text=image['caption'],
            tokens_positive=spans,
            phrase_ids=[label for _, label in boxes],
            **extra,
            **{key: image[key] for key in IDENTITY if key in image},
            instances=[
                dict(bbox=list(box), bbox_label=label, ignore_flag=0) for box, label in boxes
            ],
        )

    def _image_path(self, image: dict) -> str:
        where = f'{self.ann_file}: image {image["id"]}'
        if self.image_dirs is None:
            return self.image_file(self.data_prefix['img'], image['file_name'], where)
        source = image.get('data_source')
        if source is None or source not in self.image_dirs:
            raise ValueError(
                f'{where} has data_source {source!r}, for which '
                f'image_dirs has no folder (it has {", ".join(map(repr, self.image_dirs))}): add it'
            )
        folder = osp.join(self.data_root or '', self.image_dirs[source])
        return self.image_file(folder, image['file_name'], where)

    def _usable(self, image: dict, anns: list[dict], faults: Counter) -> list[tuple[dict, Box]]:
        """The annotations with a usable box, each with that box."""
        usable: list[tuple[dict, Box]] = []
        for ann in anns:
            kind = box_fault(ann['bbox'], image['width'], image['height'])
            if kind is None and not self.test_mode and ann.get('iscrowd', 0):
                kind = 'of crowds'
            if kind is None:
                x, y, w, h = ann['bbox']
                usable.append((ann, (x, y, x + w, y + h)))
            else:
                faults[kind] += 1
        return usable

    def _evaluated(
        self, image: dict, anns: list[dict], faults: Counter
    ) -> tuple[list, list[tuple[Box, int]]]:
        """Spans of the evaluated phrases, and the boxes with their labels."""
        phrases = image['tokens_positive_eval']
        boxes = []
        for ann, box in self._usable(image, anns, faults):
            own = ann.get('tokens_positive')
            if own:
                labels = [i for i, spans in enumerate(phrases) if all(s in own for s in spans)]
            else:
                ids = ann.get('phrase_ids')
                labels = [ids] if isinstance(ids, int) else ids or []
            if not labels:
                faults['of no evaluated phrase'] += 1
            if not all(0 <= label < len(phrases) for label in labels):
                raise ValueError(
                    f'{self.ann_file}: annotation {ann["id"]} has phrase_ids {labels}, '
                    f'but tokens_positive_eval of image {image["id"]} has '
                    f'{len(phrases)} phrases: count them from 0'
                )
            boxes += [(box, label) for label in labels]
        return phrases, boxes

    def _annotated(
        self, image: dict, anns: list[dict], faults: Counter
    ) -> tuple[list, list[tuple[Box, int]], list[list[str]]]:
        """Spans per box, equal boxes merged, these boxes with their labels, nouns per label."""
        key = 'tokens' if anns and 'tokens' in anns[0] else 'tokens_positive'
        spans: list[list] = []
        nouns: list[list[str]] = []
        boxes: list[tuple[Box, int]] = []
        label_of: dict[Box, int] = {}
        for ann, box in self._usable(image, anns, faults):
            own = list(ann.get(key) or [])
            if not own and self.test_mode:
                own = [[0, len(image['caption'])]]
            if not own or not self.test_mode and not spans_fit(image['caption'], own):
                faults['with a span outside the caption' if own else 'without a span'] += 1
                continue
            if box in label_of:
                spans[label_of[box]] += own
                nouns[label_of[box]] += ann.get('nouns') or []
                continue
            label_of[box] = len(spans)
            boxes.append((box, len(spans)))
            spans.append(own)
            nouns.append(list(ann.get('nouns') or []))
        return spans, boxes, nouns

    def _of_release(
        self, image: dict, entities: Flickr30kEntities
    ) -> tuple[list, list[tuple[Box, int]], list[list[str]]]:
        """Spans of the evaluated phrases, boxes of the release with labels, types per label."""
        lacking = [
            key
            for key in ('original_img_id', 'sentence_id', 'tokens_positive_eval')
            if image.get(key) is None
        ]
        if lacking:
            raise ValueError(
                f'{self.ann_file}: image {image["id"]} has no '
                f'{", ".join(map(repr, lacking))}, needed to look it up in the Flickr30k '
                'Entities release: leave out entities_root, or use '
                'final_flickr_separateGT_*.json'
            )
        spans = image['tokens_positive_eval']
        try:
            found = entities.phrases(image['original_img_id'], image['sentence_id'])
        except ValueError as error:
            raise ValueError(f'{self.ann_file}: image {image["id"]}: {error}') from error
        if not found:
            return [], [], []
        if len(found) != len(spans):
            raise ValueError(
                f'image {image["original_img_id"]}, sentence {image["sentence_id"]}: '
                f'{self.ann_file} has {len(spans)} phrases, {entities.root} (Annotations/'
                f'{image["original_img_id"]}.xml, Sentences/{image["original_img_id"]}.txt) has '
                f'boxes for {len(found)} ({"; ".join(p.words for p in found)}). Use the file made '
                'from this release'
            )
        boxes = [(box, label) for label, phrase in enumerate(found) for box in phrase.boxes]
        return spans, boxes, [list(phrase.types) for phrase in found]


def _is_described(record: dict) -> bool:
    """Whether something was written about a caption, or its phrases have nouns."""
    return bool(record['sentence_descriptions'] or record['phrase_nouns'])
