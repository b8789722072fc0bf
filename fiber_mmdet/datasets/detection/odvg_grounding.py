"""ODVG files (Open-GroundingDINO's jsonl): categories and captions, one image per line."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator, Sequence

from mmdet.datasets import ODVGDataset
from mmdet.registry import DATASETS

from fiber_mmdet.fields import (
    CORNERS,
    OBJECT,
    OBJECTS,
    PATH,
    SIZE,
    SPANS,
    TEXT,
    Kind,
    check_record,
    check_table,
    is_corner_box,
    is_text,
    is_whole,
    shown,
)
from fiber_mmdet.records import need, read_json, read_json_lines
from fiber_mmdet.text import PromptError, find_phrase

from .annotation_checks import box_fault, report_faults, spans_fit
from .category_names import warn_of_equal_words
from .shared_images import SharedImages

LINE = dict(
    filename=PATH, height=SIZE, width=SIZE, grounding=OBJECT | None, detection=OBJECT | None
)
CAPTION = dict(caption=TEXT, regions=OBJECTS)
REGION = dict(
    bbox=Kind(
        'x1, y1, x2, y2 in pixels, or a list of such boxes',
        lambda value: (
            is_corner_box(value) or isinstance(value, list) and all(map(is_corner_box, value))
        ),
    ),
    tokens_positive=SPANS | None,
    phrase=TEXT | None,
)
DETECTION = dict(instances=OBJECTS | None)
LABEL = Kind(
    'the number of a name in the label map',
    lambda value: is_whole(value) or is_text(value) and _is_label(value),
)
INSTANCE = dict(bbox=CORNERS, label=LABEL)


@DATASETS.register_module()
class GroundingODVGDataset(SharedImages, ODVGDataset):
    """mmdet's ``ODVGDataset`` with the samples that FIBER trains on.

    Differs from mmdet's ``ODVGDataset``: samples need no further transform to become prompts, and
    a file may mix both kinds of lines.

    - Lines with ``detection``: ``text`` is the list of names in the order of the label map, and a
      label is an index into it.
    - Lines with ``grounding``: ``text`` is the caption, verbatim, and ``tokens_positive`` has a
      list of [begin, end) spans per label. A region without ``tokens_positive`` has those of its
      ``phrase``, wherever it occurs (:func:`fiber_mmdet.text.find_phrase`). Boxes of one region
      share a label, equal phrases of two regions do not. A box in several regions is one box with
      the spans of all (in ``test_mode``, label ``i`` is region ``i``, and such a box is repeated
      for each).

    Boxes are x1, y1, x2, y2 with x2 = x + w, as mmdet's converters write them. Boxes outside the
    image or of zero size are counted in the log, as are training boxes without a span or with one
    outside the caption.

    Args:
        label_map_file: json ``{"0": "name", …}`` below ``data_root``, needed for lines with
            ``detection``.
        **kwargs: those of mmdet's ``ODVGDataset``. With ``need_text=False``, samples of lines with
            ``detection`` carry no names, and the detector uses the classes of the dataset. Also
            ``outside_paths`` and ``texts_per_image`` (:class:`SharedImages`).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming the line: it is of neither kind, lacks a field, has one of another type,
            a label without a name or a phrase that does not occur; or the label map is malformed.
    """

    def __init__(
        self,
        *args,
        data_root: str = '',
        label_map_file: str | None = None,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        kwargs.setdefault('return_classes', True)
        self.label_map_file = label_map_file
        self.names: dict[int, str] = {}
        if label_map_file:
            path = osp.join(data_root or '', label_map_file)
            self.names = read_label_map(path, backend_args)
        self._names = tuple(self.names.values())
        super().__init__(*args, data_root=data_root, backend_args=backend_args, **kwargs)

    def load_data_list(self) -> Sequence[dict]:
        """Read the lines into mmdet's records."""
        if self.names:
            self._metainfo.setdefault('classes', self._names)
            warn_of_equal_words(self._names, self.caption_prompt, self.ann_file)
        faults: Counter = Counter()
        self._annotated = 0
        records = self.collect(self._records(faults))
        report_faults(faults, self.ann_file)
        self.need_boxes(records, self._annotated)
        return records

    def _records(self, faults: Counter) -> Iterator[dict]:
        position = {label: i for i, label in enumerate(self.names)}
        for where, line in read_json_lines(self.ann_file, self.backend_args):
            number = int(where.rpartition(' ')[2])
            yield self._record(line, where, number, position, faults)

    def get_data_info(self, idx: int) -> dict:
        """One sample; the names of the prompt are the same for all that have any."""
        record = super().get_data_info(idx)
        for one in record.get('texts', [record]) if self.need_text else ():
            if one['dataset_mode'] == 'OD':
                one.update(
                    text=self._names, custom_entities=True, caption_prompt=self.caption_prompt
                )
        return record

    def _record(
        self,
        data: dict,
        where: str,
        number: int,
        position: dict[int, int],
        faults: Counter,
    ) -> dict:
        check_record(data, LINE, where)
        data['height'], data['width'] = int(data['height']), int(data['width'])
        record = dict(
            img_id=number - 1,
            height=data['height'],
            width=data['width'],
            img_path=self.image_file(self.data_prefix['img'], data['filename'], where, 'filename'),
        )
        if data.get('grounding') is not None:
            return dict(record, **self._caption(data, where, faults))
        if self.names:
            return dict(record, **self._categories(data, where, position, faults))
        raise ValueError(
            f"{where} has no 'grounding'. If it is detection data, give the names of "
            'its labels by label_map_file'
        )

    def _usable(self, box: list, data: dict, faults: Counter) -> bool:
        self._annotated += 1
        x1, y1, x2, y2 = box
        kind = box_fault((x1, y1, x2 - x1, y2 - y1), data['width'], data['height'])
        if kind:
            faults[kind] += 1
        return kind is None

    def _categories(
        self,
        data: dict,
        where: str,
        position: dict[int, int],
        faults: Counter,
    ) -> dict:
        detection = data.get('detection') or {}
        check_record(detection, DETECTION, f"{where}: 'detection'")
        instances = []
        found = detection.get('instances') or []
        check_table(found, INSTANCE, 'instance', where, key=None)
        for instance in found:
            label = int(instance['label'])
            if label not in position:
                raise ValueError(
                    f'{where}: label {label} has no name in the label map: correct label_map_file'
                )
            if self._usable(instance['bbox'], data, faults):
                instances.append(
                    dict(bbox=instance['bbox'], bbox_label=position[label], ignore_flag=0)
                )
        return dict(instances=instances, dataset_mode='OD')

    def _caption(self, data: dict, where: str, faults: Counter) -> dict:
        check_record(data['grounding'], CAPTION, f"{where}: 'grounding'")
        check_table(data['grounding']['regions'], REGION, 'region', where, key=None)
        caption, regions = data['grounding']['caption'], data['grounding']['regions']
        pieces = [
            _spans(caption, region, f'{where}: region {i}') for i, region in enumerate(regions)
        ]
        regions_of: dict[tuple, list[int]] = {}  # of each box, in order of appearance
        for i, region in enumerate(regions):
            boxes = region['bbox']
            boxes = boxes if boxes and isinstance(boxes[0], list) else [boxes]
            for box in boxes:
                if self._usable(box, data, faults):
                    if self.test_mode or pieces[i] and spans_fit(caption, pieces[i]):
                        regions_of.setdefault(tuple(box), []).append(i)
                    else:
                        faults[
                            'with a span outside the caption' if pieces[i] else 'without a span'
                        ] += 1
        if self.test_mode:
            spans = pieces
            boxes = [(box, i) for box, owners in regions_of.items() for i in owners]
        else:
            label_of: dict[tuple[int, ...], int] = {}
            boxes = [
                (box, label_of.setdefault(tuple(owners), len(label_of)))
                for box, owners in regions_of.items()
            ]
            spans = [sum((pieces[i] for i in owners), []) for owners in label_of]
        return dict(
            text=caption,
            tokens_positive=spans,
            phrase_ids=[i for _, i in boxes],
            dataset_mode='VG',
            instances=[dict(bbox=list(box), bbox_label=i, ignore_flag=0) for box, i in boxes],
        )


def _spans(caption: str, region: dict, where: str) -> list[list[int]]:
    """The characters of a region's phrase."""
    spans = region.get('tokens_positive')
    if spans is None:
        need(region, ['phrase'], where, "give it 'tokens_positive', or a 'phrase' of the caption")
        try:
            spans = find_phrase(caption, region['phrase'])
        except PromptError as error:
            raise ValueError(f'{where}: {error}') from error
    return [list(span) for span in spans]


def read_label_map(path: str, backend_args: dict | None = None) -> dict[int, str]:
    """The names of a label map, in the order of their labels.

    Args:
        path: of a json file ``{"0": "name", …}``.
        backend_args: of mmengine's file reading.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it maps something else, or two labels are one number.
    """
    content = read_json(path, dict, 'an object {"0": "name", …}', backend_args)
    found: dict[int, str] = {}
    for label, name in content.items():
        if not _is_label(label) or not is_text(name) or not name.strip():
            turned = all(map(is_whole, content.values()))
            raise ValueError(
                f'{path} maps {shown(label)} to {shown(name)}: it must map numbers to names, '
                '{"0": "name", …}' + '; this one is the wrong way round' * turned
            )
        if int(label) in found:
            raise ValueError(f'{path} has the label {int(label)} twice: number labels apart')
        found[int(label)] = name
    return dict(sorted(found.items()))


def _is_label(text: str) -> bool:
    return text.isascii() and text.strip().isdigit()
