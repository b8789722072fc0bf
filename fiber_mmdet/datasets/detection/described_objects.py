"""D³, described object detection: each image is queried with the sentences of its group."""

import os.path as osp
import pickle
from collections import Counter
from collections.abc import Sequence

import numpy as np
from mmdet.datasets import DODDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from fiber_mmdet.fields import NAME, check_table

from .annotation_checks import box_fault, report_faults
from .checked import CheckedDetection
from .coco_file import IMAGE_FIELDS, open_coco

PICKLES = ('annotations.pkl', 'groups.pkl', 'images.pkl', 'sentences.pkl')


@DATASETS.register_module()
class PromptDODDataset(CheckedDetection, DODDataset):
    """D³ in its intra-scenario protocol, sentences verbatim.

    Differs from mmdet's ``DODDataset``: an image is queried with those sentences of its group that
    ``ann_file`` evaluates (all for FULL, those of presence or of absence for PRES and ABS), in the
    order of their ids; box labels are positions in this list instead of sentence ids; and
    sentences reach the model unchanged, whereas category names lose their parentheses and
    underscores.

    Samples carry ``text`` (a name per sentence, under which results are reported: the sentence,
    with a number added where a group contains it twice), ``caption_prompt`` (the wording: the
    sentence), ``custom_entities`` and ``sent_ids``, the sentence id of each label. Test with
    ``chunked_size=1``, so that each sentence is a prompt of its own, as in the published figures.

    The .pkl files are read by Python's pickle, which can run arbitrary code: use only those of the
    D³ release.

    Args:
        data_root: folder that contains everything.
        data_prefix: ``img`` (images) and ``anno`` (the .pkl files) below it.
        **kwargs: those of mmdet's ``BaseDetDataset``.

    Raises:
        ImportError: the package ddd-dataset is not installed.
        ValueError: .pkl files are missing, or ``ann_file`` is malformed.
    """

    PUBLISHED = {'d3/d3_json/d3_full_annotations.json': dict(images=10578)}

    def __init__(
        self, *args, data_root: str | None = '', data_prefix: dict | None = None, **kwargs
    ) -> None:
        data_prefix = data_prefix or {}
        folder = osp.join(data_root or '', data_prefix.get('anno', ''))
        missing = [name for name in PICKLES if not osp.isfile(osp.join(folder, name))]
        if missing or 'img' not in data_prefix:
            raise ValueError(
                f'no {", ".join(missing) or "images"} in {folder or "."}: data_prefix '
                'must name the folders of the D³ release below data_root, '
                "dict(img='d3_images/', anno='d3_pkl/')"
            )
        for name in PICKLES:
            _check_pickle(osp.join(folder, name))
        super().__init__(*args, data_root=data_root or '', data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Join the groups of the release with the boxes of the json file."""
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            coco = open_coco(path, self.ann_file)
        evaluated = set(coco.cats)
        folder = self.data_prefix.get('anno', '')
        images = self.d3.load_imgs(list(self.d3.get_img_ids()))
        check_table(images, IMAGE_FIELDS, 'image', osp.join(folder, 'images.pkl'))
        sentences_file = osp.join(folder, 'sentences.pkl')
        check_table(self.d3.load_sents(), dict(raw_sent=NAME), 'sentence', sentences_file)
        faults: Counter = Counter()
        records = []
        for image in images:
            groups = self.d3.get_group_ids(img_ids=[image['id']])
            sentences = sorted(evaluated.intersection(self.d3.get_sent_ids(group_ids=groups)))
            if sentences:
                records.append(
                    self._record(image, sentences, coco.imgToAnns.get(image['id'], []), faults)
                )
        report_faults(faults, self.ann_file)
        return records

    def _record(self, image: dict, sentences: list[int], anns: list[dict], faults: Counter) -> dict:
        words = [sentence['raw_sent'] for sentence in self.d3.load_sents(sentences)]
        label_of = {sentence: label for label, sentence in enumerate(sentences)}
        instances = []
        for ann in anns:
            kind = box_fault(ann['bbox'], image['width'], image['height'])
            if kind is None and ann['category_id'] not in label_of:
                kind = 'of another group'
            if kind:
                faults[kind] += 1
                continue
            x, y, w, h = ann['bbox']
            instances.append(
                dict(
                    bbox=[x, y, x + w, y + h],
                    ignore_flag=0,
                    bbox_label=label_of[ann['category_id']],
                )
            )
        return dict(
            img_id=image['id'],
            img_path=self.image_file(
                self.img_root, image['file_name'], f'images.pkl: image {image["id"]}'
            ),
            height=image['height'],
            width=image['width'],
            text=distinct_names(words),
            caption_prompt=[dict(name=sentence) for sentence in words],
            custom_entities=True,
            sent_ids=np.array(sentences),
            instances=instances,
        )


def _check_pickle(path: str) -> None:
    """Check that a file of the release can be read, before the toolkit reads it again."""
    try:
        with open(path, 'rb') as file:
            content = pickle.load(file)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise ValueError(
            f'{path} is not a pickle that can be read ({type(error).__name__}: {error}): fetch '
            'the release again'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, not a dict: fetch the release again'
        )


def distinct_names(words: Sequence[str]) -> list[str]:
    """Each text as a name of its own, numbered from its second occurrence: ``'a cat (2)'``."""
    names: dict[str, None] = {}
    for word in words:
        name, time = word, 1
        while name in names:
            time += 1
            name = f'{word} ({time})'
        names[name] = None
    return list(names)
