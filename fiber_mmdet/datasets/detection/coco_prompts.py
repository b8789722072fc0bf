"""COCO-style detection data whose categories become the prompt."""

from collections import Counter

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from .box_check import fault, report_faults
from .category_names import check_caption_prompt, choose_classes
from .coco_file import open_coco
from .few_shot import pick_shots
from .photo_errors import NamesUnreadablePhotos


@DATASETS.register_module()
class PromptCocoDataset(NamesUnreadablePhotos, CocoDataset):
    """mmdet's ``CocoDataset`` for prompts: names checked, bad boxes counted.

    Reads COCO itself, COCO-O, ODinW, Objects365 v1 and any data set of one's
    own in COCO json. What differs: the classes default to the file's own
    categories and keep their order in the file, as the labels of mmdet and its
    ``CocoMetric`` do (training and test files may list them in different
    orders, as those of Objects365 v1 do: a prompt goes by name); classes that
    the file does not have are an error, not a silent drop; so are annotations
    of unknown images or categories and boxes that are not x, y, width, height;
    boxes of zero size or outside the image are counted in the log; and every
    sample carries ``text``, ``custom_entities`` and ``caption_prompt``.

    Args:
        annotated_only: leave out categories without any annotation, so that
            training prompts hold no name that is never positive.
        caption_prompt: category -> ``dict(prefix=…, name=…, suffix=…)``.
        shots: train on about this many photos of each category
            (:func:`pick_shots`), counted over the chosen classes; None: on all.
            Wrapped into a ``RepeatDataset``, a few photos make a long epoch.
        shot_seed: which photos these are: None walks them by image id, as the
            reference does, a number in a shuffled order.
        **kwargs: those of ``CocoDataset``.

    Raises:
        ValueError: when ``metainfo['classes']`` names categories the file lacks,
            ``caption_prompt`` names unknown classes, the file is at fault, or
            ``shots`` is below one, given in ``test_mode`` or lacks for its seed.
    """

    METAINFO: dict = {}

    def __init__(
        self,
        *args,
        annotated_only: bool = False,
        caption_prompt: dict | None = None,
        shots: int | None = None,
        shot_seed: int | None = None,
        **kwargs,
    ) -> None:
        if shots is None and shot_seed is not None:
            raise ValueError('shot_seed chooses the photos of a few-shot set: give shots, too')
        if shots is not None and (shots < 1 or kwargs.get('test_mode', False)):
            raise ValueError(
                f'shots={shots} must be one or more photos a category, and is for '
                'training: leave it out in test_mode or to train on all'
            )
        self.annotated_only = annotated_only
        self.shots = shots
        self.shot_seed = shot_seed
        self.faults: Counter = Counter()
        kwargs.setdefault('return_classes', True)
        super().__init__(*args, caption_prompt=caption_prompt, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file; see the class for what is checked."""
        self.faults.clear()
        data_list = super().load_data_list()
        report_faults(self.faults, self.ann_file)
        return data_list

    def COCOAPI(self, path: str) -> COCO:
        """How mmdet opens the file: checked here, and the classes taken from it."""
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
        check_caption_prompt(self.caption_prompt, classes, self.ann_file)
        self._metainfo['classes'] = tuple(classes)
        return coco

    def prepare_file(self, dataset: dict) -> None:
        """Change the content of the file in place before it is checked; nothing here."""

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image record with its annotations; unusable boxes are dropped by mmdet."""
        info = raw_data_info['raw_img_info']
        for ann in raw_data_info['raw_ann_info']:
            kind = fault(ann['bbox'], info['width'], info['height'])
            if kind or ann['area'] <= 0:
                self.faults[kind or 'of no area'] += 1
        return super().parse_data_info(raw_data_info)

    def filter_data(self) -> list[dict]:
        """mmdet's filter, then the choice of ``shots``."""
        data_list = super().filter_data()
        if self.shots is not None:
            data_list = pick_shots(data_list, self.shots, self.shot_seed)
        return data_list
