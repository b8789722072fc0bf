"""COCO-style detection data (COCO, LVIS, Objects365 …): the categories become the prompt."""

import os.path as osp
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.objects365 import objv2_ignore_list
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from fiber_mmdet.fields import ID, PATH, TEXT, check_distinct, check_table, list_of
from fiber_mmdet.text import PromptTokenizer, build_tokenizer, describe

from ..file_arguments import FileArgument
from .annotation_checks import box_fault, report_faults
from .category_names import check_caption_prompt, choose_classes, warn_of_equal_words
from .checked import CheckedDetection
from .coco_file import images_with_boxes, open_coco, report_left_out

LVIS_IMAGE_FIELDS = dict(
    coco_url=TEXT | None,
    neg_category_ids=list_of(ID) | None,
    not_exhaustive_category_ids=list_of(ID) | None,
)


@DATASETS.register_module()
class PromptCocoDataset(CheckedDetection, CocoDataset):
    """mmdet's ``CocoDataset`` for prompts: names are checked, bad boxes are counted.

    Reads COCO itself, COCO-O, ODinW, Objects365 v1 and any dataset of your own in COCO json.

    Differs from mmdet's ``CocoDataset``:

    - The classes default to the file's own categories, in the order of the file, which is also
      the label order of mmdet and its ``CocoMetric``. Training and test files may list them in
      different orders, as those of Objects365 v1 do: a prompt goes by name.
    - Classes that the file lacks are an error instead of being dropped silently. So are
      annotations of unknown images or categories, and boxes that are not x, y, width, height.
    - Every field is checked, and errors name the record. Two records with one id are an error.
    - Boxes of zero size or outside the image are counted in the log, and so are crowds. A missing
      ``area``, or one of 0, is that of the box. Training on a file none of whose boxes can be
      learned is an error.
    - Categories without an annotation, and such as read alike once cleaned, are named in the log.
    - Every sample carries ``text``, ``custom_entities`` and ``caption_prompt``.
    - ``cat_img_map``, the images of each category, is not kept after the file is read.

    Args:
        annotated_only: leave out categories without any annotation, so that training prompts
            contain no name that is never positive.
        caption_prompt: category -> ``dict(prefix=…, name=…, suffix=…)``.
        descriptions: file below ``data_root`` that says what the categories look like; they are
            then asked for in the words of :func:`fiber_mmdet.text.describe`, in testing only.
        names_per_prompt: of description prompts; the detector's ``test_cfg.chunked_size``.
        tokenizer: ``dict(name_or_path=…, max_tokens=256)`` of the model, which shortens description
            prompts that are too long; without it the detector refuses them.
        shots: train on about this many images of each of the chosen classes
            (:func:`pick_shots`); None: on all. Wrapped into a ``RepeatDataset``, a few images
            make a long epoch.
        shot_seed: how these images are chosen: None walks through them by image id, as the
            reference does, a number in a shuffled order.
        **kwargs: those of ``CocoDataset``, and ``outside_paths`` of :class:`CheckedDetection`.

    Raises:
        ValueError: when ``metainfo['classes']`` names categories that the file lacks,
            ``caption_prompt`` names unknown classes, a file is malformed, ``shots`` is below
            one or given in ``test_mode``, ``shot_seed`` is given without ``shots``, or
            ``descriptions`` with ``caption_prompt`` or in training.
    """

    METAINFO: dict = {}
    PROMPT = ('text', 'custom_entities', 'caption_prompt')  # the same for all samples
    FILES = (FileArgument('descriptions'),)
    REMADE = ('caption_prompt',)
    names_may_read_alike = False  # without a word in the log
    PUBLISHED = {
        'coco/annotations/instances_train2017.json': dict(images=118287, categories=80),
        'coco/annotations/instances_val2017.json': dict(images=5000, categories=80),
    }

    def __init__(
        self,
        *args,
        annotated_only: bool = False,
        caption_prompt: dict | None = None,
        descriptions: str | None = None,
        names_per_prompt: int = 8,
        tokenizer: Mapping[str, Any] | None = None,
        shots: int | None = None,
        shot_seed: int | None = None,
        **kwargs,
    ) -> None:
        if shots is None and shot_seed is not None:
            raise ValueError(
                f'shot_seed={shot_seed} chooses the images of a few-shot set: give shots, too'
            )
        if shots is not None and (shots < 1 or kwargs.get('test_mode', False)):
            raise ValueError(
                f'shots={shots} must be one or more images per category, and is for training: '
                'leave it out in test_mode or to train on all'
            )
        if descriptions and (caption_prompt or not kwargs.get('test_mode', False)):
            raise ValueError(
                f'descriptions={descriptions!r} makes the caption_prompt of test prompts: '
                + (
                    'leave one of the two out'
                    if caption_prompt
                    else 'in training, add DescribeCategories to the pipeline instead'
                )
            )
        self.annotated_only = annotated_only
        self.descriptions = descriptions
        self.names_per_prompt = names_per_prompt
        self.tokenizer = tokenizer
        self.shots = shots
        self.shot_seed = shot_seed
        self.faults: Counter = Counter()
        self._with_class: set[Any] = set()
        kwargs.setdefault('return_classes', True)
        super().__init__(*args, caption_prompt=caption_prompt, **kwargs)

    def load_data_list(self) -> Sequence[dict]:
        """Read the file; the class docstring lists the checks."""
        self.annotated = 0
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            coco = self.COCOAPI(path)
        self.cat_ids = coco.get_cat_ids(cat_names=self.metainfo['classes'])
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}
        self._with_class = {image for cat_id in self.cat_ids for image in coco.catToImgs[cat_id]}
        coco.catToImgs = coco.cat_img_map = {}
        records = self.collect(
            self.parse_data_info(
                dict(raw_img_info=dict(image, img_id=image['id']), raw_ann_info=anns)
            )
            for image, anns in images_with_boxes(coco)
        )
        report_faults(self.faults, self.ann_file)
        self.faults.clear()
        self.need_boxes(records, self.annotated)
        return records

    def COCOAPI(self, path: str) -> COCO:
        """Called by mmdet to open the file: checks it and takes the classes from it."""
        coco = open_coco(
            path, self.ann_file, annotated=not self.test_mode, prepare=self.prepare_file
        )
        names = [category['name'] for category in coco.dataset['categories']]
        classes = choose_classes(names, self._metainfo.get('classes'), self.ann_file)
        if self.annotated_only:
            used = {a['category_id'] for a in coco.dataset['annotations']}
            kept = {c['name'] for c in coco.dataset['categories'] if c['id'] in used}
            classes = choose_classes(
                names, [name for name in classes if name in kept], self.ann_file
            )
        self._metainfo['classes'] = tuple(classes)
        self.remake()
        check_caption_prompt(self.caption_prompt, classes, self.ann_file)
        asked = [category for category in coco.dataset['categories'] if category['name'] in classes]
        report_left_out(coco.dataset['annotations'], asked, self.ann_file, not self.test_mode)
        if not self.names_may_read_alike:
            warn_of_equal_words(classes, self.caption_prompt, self.ann_file)
        return coco

    def remake(self) -> None:
        """Word the prompts of the classes, if there are ``descriptions``."""
        if self.descriptions:
            path = osp.join(self.data_root or '', self.descriptions)
            tokenizer = build_tokenizer(self.tokenizer, PromptTokenizer) if self.tokenizer else None
            self.caption_prompt = describe(
                list(self._metainfo['classes']),
                path,
                self.names_per_prompt,
                tokenizer,
                self.backend_args,
            )

    def prepare_file(self, dataset: dict) -> None:
        """Hook for subclasses: change the content of the file in place before it is checked."""

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image record with its annotations; mmdet drops unusable boxes."""
        info = raw_data_info['raw_img_info']
        for ann in raw_data_info['raw_ann_info']:
            kind = (
                'ignored (ignore)'
                if ann.get('ignore')
                else box_fault(ann['bbox'], info['width'], info['height'])
            )
            if kind:
                self.faults[kind] += 1
        self.annotated += len(raw_data_info['raw_ann_info'])
        record = super().parse_data_info(raw_data_info)
        record['img_path'] = self.image_file(
            self.data_prefix['img'], info['file_name'], f'{self.ann_file}: image {info["id"]}'
        )
        for key in self.PROMPT:  # each record would hold a copy, of 1203 names
            record.pop(key, None)
        return record

    def get_data_info(self, idx: int) -> dict:
        """One sample with its prompt."""
        record = super().get_data_info(idx)
        if self.return_classes:
            prompt = (self._metainfo['classes'], True, self.caption_prompt)
            record.update(zip(self.PROMPT, prompt))
        return record

    def usable_records(self) -> Sequence[dict]:
        """The records that mmdet's filter would leave, then the choice of ``shots``.

        With ``filter_empty_gt``, images without an annotation of one of the classes are left out;
        those whose only annotations cannot be used stay. ``min_size`` is of the shorter side.
        """
        data_list, rules = self.data_list, self.filter_cfg
        if not self.test_mode and rules is not None:
            used = self._with_class if rules.get('filter_empty_gt', False) else None
            least = rules.get('min_size', 0)
            positions = [
                i
                for i, record in enumerate(data_list)
                if min(record['width'], record['height']) >= least
                and (used is None or record['img_id'] in used)
            ]
            data_list = self.chosen(data_list, positions)
        self._with_class = set()  # of no further use, and large
        if self.shots is not None:
            data_list = pick_shots(data_list, self.shots, self.shot_seed)
        return data_list


def pick_shots(records: Sequence[dict], shots: int, seed: int | None = None) -> list[dict]:
    """Images that give every category about ``shots`` images.

    Images are visited one by one. An image is kept if any of its categories still lacks some, and
    then counts once for each of its categories, however many boxes it has of them. A category that
    often occurs with others may therefore get more than ``shots`` images; it gets fewer only if
    there are no more. Images without boxes are never kept.

    Args:
        records: with ``img_id`` and ``instances``.
        shots: images wanted of each category.
        seed: order of the visits: None is the order of image ids (the rule of FIBER and GLIP), a
            number seeds a shuffle.

    Returns:
        The kept records, in the given order.
    """
    order = sorted(range(len(records)), key=lambda i: records[i]['img_id'])
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order).tolist()
    taken: dict[int, int] = {}
    kept = set()
    for i in order:
        labels = {instance['bbox_label'] for instance in records[i]['instances']}
        if any(taken.get(label, 0) < shots for label in labels):
            kept.add(i)
            for label in labels:
                taken[label] = taken.get(label, 0) + 1
    return [record for i, record in enumerate(records) if i in kept]


@DATASETS.register_module()
class PromptLVISDataset(PromptCocoDataset):
    """LVIS v1 (train, val, minival) as prompts.

    Differs from mmdet's ``LVISV1Dataset``: everything that :class:`PromptCocoDataset` checks is
    checked, the classes are those of the file instead of a fixed list, and the ``lvis`` package
    is needed for the metric only. Labels follow the category ids, which is the order that mmdet's
    fixed AP expects.

    The path of an image is the last two parts of its ``coco_url``
    (``val2017/000000001234.jpg``), below ``data_prefix['img']``; without a ``coco_url`` it is
    ``file_name``. Records keep ``neg_category_ids`` and ``not_exhaustive_category_ids``.

    Args:
        **kwargs: those of :class:`PromptCocoDataset`.

    Raises:
        ValueError: as there, and when categories are not listed by ascending id.
    """

    names_may_read_alike = True  # "bow_(weapon)" and "bow_(ribbon)" do, in the published figures
    PUBLISHED = {
        'coco/annotations/lvis_v1_train.json': dict(images=100170, categories=1203),
        'coco/annotations/lvis_v1_val.json': dict(images=19809, categories=1203),
        'coco/annotations/lvis_v1_minival_inserted_image_name.json': dict(
            images=4809, categories=1203
        ),
    }

    def prepare_file(self, dataset: dict) -> None:
        """Take paths from ``coco_url``; check the order of the categories.

        Raises:
            ValueError: categories are not listed by ascending id.
        """
        check_table(dataset['images'], LVIS_IMAGE_FIELDS, 'image', self.ann_file)
        for image in dataset['images']:
            if image.get('coco_url') is not None:
                image['file_name'] = '/'.join(image['coco_url'].split('/')[-2:])
        ids = [category['id'] for category in dataset['categories']]
        check_distinct(ids, 'categories', 'id', self.ann_file, 'number them apart')
        if ids != sorted(ids):
            raise ValueError(
                f'{self.ann_file}: categories are not listed by ascending id, so the '
                'metric would take them for one another: sort them'
            )

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image record, with the categories known to be absent or not fully annotated."""
        record = super().parse_data_info(raw_data_info)
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            record[key] = raw_data_info['raw_img_info'].get(key) or []
        return record


@DATASETS.register_module()
class PromptObjects365V2Dataset(PromptCocoDataset):
    """Objects365 v2 (``zhiyuan_objv2_*.json``) as prompts.

    The path of an image is the last two parts of its ``file_name``
    (``patch8/objects365_v1_00420917.jpg``), and the broken images that mmdet lists are left out,
    as in its ``Objects365V2Dataset``. Differs from that: the classes are those of the file, in its
    order (by id, as published), which is the order that ``CocoMetric`` reads. Objects365 v1 needs
    no class of its own: :class:`PromptCocoDataset` reads it.

    Args:
        **kwargs: those of :class:`PromptCocoDataset`.
    """

    def prepare_file(self, dataset: dict) -> None:
        """Shorten the paths; drop broken images with their annotations."""
        check_table(dataset['images'], dict(file_name=PATH), 'image', self.ann_file)
        broken = set()
        for image in dataset['images']:
            image['file_name'] = '/'.join(image['file_name'].split('/')[-2:])
            if image['file_name'] in objv2_ignore_list:
                broken.add(image['id'])
        if broken:
            check_table(dataset['annotations'], dict(image_id=ID), 'annotation', self.ann_file)
            dataset['images'] = [i for i in dataset['images'] if i['id'] not in broken]
            dataset['annotations'] = [
                a for a in dataset['annotations'] if a['image_id'] not in broken
            ]
