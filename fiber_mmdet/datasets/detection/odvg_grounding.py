"""ODVG files (Open-GroundingDINO's jsonl): categories and captions, one image per line."""

import json
import os.path as osp
from collections import Counter

from mmdet.datasets import ODVGDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from ..image_errors import NamesUnreadableImages
from .annotation_checks import box_fault, drops_empty, report_faults, spans_fit


@DATASETS.register_module()
class GroundingODVGDataset(NamesUnreadableImages, ODVGDataset):
    """mmdet's ``ODVGDataset`` with the samples that FIBER trains on.

    Differs from mmdet's ``ODVGDataset``: samples need no further transform to become prompts, and
    a file may mix both kinds of lines.

    - Lines with ``detection``: ``text`` is the list of names in the order of the label map, and a
      label is an index into it.
    - Lines with ``grounding``: ``text`` is the caption, verbatim, and ``tokens_positive`` has a
      list of [begin, end) spans per label. Boxes of one region share a label, equal phrases of two
      regions do not. A box in several regions is one box with the spans of all (in ``test_mode``,
      label ``i`` is region ``i``, and such a box is repeated for each).

    Boxes are x1, y1, x2, y2 with x2 = x + w, as mmdet's converters write them. Boxes outside the
    image or of zero size are counted in the log, as are training boxes without a span or with one
    outside the caption.

    Args:
        label_map_file: json ``{"0": "name", …}`` below ``data_root``, needed for lines with
            ``detection``.
        **kwargs: those of mmdet's ``ODVGDataset``. With ``need_text=False``, samples of lines with
            ``detection`` carry no names, and the detector uses the classes of the dataset.

    Raises:
        ValueError: naming the line: it is of neither kind, or has a label without a name or a
            malformed box.
    """

    def __init__(
        self, *args, data_root: str = '', label_map_file: str | None = None, **kwargs
    ) -> None:
        kwargs.setdefault('return_classes', True)
        super().__init__(*args, data_root=data_root, label_map_file=label_map_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the lines into mmdet's records."""
        labels = sorted(map(int, self.label_map)) if self.dataset_mode == 'OD' else []
        names = tuple(self.label_map[str(label)] for label in labels)
        if names:
            self._metainfo.setdefault('classes', names)
        position = {label: i for i, label in enumerate(labels)}
        faults: Counter = Counter()
        records = []
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            with open(path, encoding='utf-8') as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        records.append(self._record(line, number, names, position, faults))
        report_faults(faults, self.ann_file)
        return records

    def _record(
        self,
        line: str,
        number: int,
        names: tuple[str, ...],
        position: dict[int, int],
        faults: Counter,
    ) -> dict:
        where = f'{self.ann_file}, line {number}'
        try:
            data = json.loads(line)
            data['height'], data['width'] = int(data['height']), int(data['width'])
            record = dict(
                img_id=number - 1,
                height=data['height'],
                width=data['width'],
                img_path=osp.join(self.data_prefix['img'], data['filename']),
            )
            if 'grounding' in data:
                return dict(record, **self._caption(data, faults))
            if names:
                return dict(record, **self._categories(data, names, position, faults))
        except KeyError as error:
            raise ValueError(f'{where} has no {error}: add it') from error
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error
        raise ValueError(
            f"{where} has no 'grounding'. If it is detection data, give the names of "
            'its labels by label_map_file'
        )

    def _usable(self, box: list, data: dict, faults: Counter) -> bool:
        if len(box) != 4 or box[2] < box[0] or box[3] < box[1]:
            raise ValueError(f'bbox {box} must be x1, y1, x2, y2 in pixels')
        x1, y1, x2, y2 = box
        kind = box_fault((x1, y1, x2 - x1, y2 - y1), data['width'], data['height'])
        if kind:
            faults[kind] += 1
        return kind is None

    def _categories(
        self, data: dict, names: tuple[str, ...], position: dict[int, int], faults: Counter
    ) -> dict:
        instances = []
        for instance in data.get('detection', {}).get('instances', []):
            label = int(instance['label'])
            if label not in position:
                raise ValueError(
                    f'label {label} has no name in the label map: correct label_map_file'
                )
            if self._usable(instance['bbox'], data, faults):
                instances.append(
                    dict(bbox=instance['bbox'], bbox_label=position[label], ignore_flag=0)
                )
        text = dict(text=names, custom_entities=True, caption_prompt=self.caption_prompt)
        return dict(text if self.need_text else {}, instances=instances, dataset_mode='OD')

    def _caption(self, data: dict, faults: Counter) -> dict:
        caption, regions = data['grounding']['caption'], data['grounding']['regions']
        pieces = [[list(span) for span in region['tokens_positive']] for region in regions]
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

    def filter_data(self) -> list[dict]:
        """In training, drop images without any box if ``filter_empty_gt`` is set."""
        if not drops_empty(self):
            return self.data_list
        return [record for record in self.data_list if record['instances']]
