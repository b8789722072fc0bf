"""OmniLabel: each image is asked for free-form descriptions and categories of its own."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from .checked import CheckedDetection
from .described_objects import distinct_names
from .omnilabel_file import read_omnilabel

SHORT = 2  # words of texts that are asked for together


@DATASETS.register_module()
class OmniLabelDataset(CheckedDetection):
    """OmniLabel (Schulter et al., ICCV 2023), asked as DesCo asks it (Li et al., NeurIPS 2023).

    A sample is an image with all of its label space: the descriptions and categories that list the
    image, in the order of the file, whether something in the image fits them or not. They are asked
    for in several prompts (:func:`questions`): a text of more than two words alone, shorter ones
    twenty at a time. The image prefix is computed once for all of them.

    Samples carry ``text`` (a name per label, under which results are reported: the text, with a
    number added where a label space contains it twice), ``caption_prompt`` (the wording),
    ``chunk_sizes`` (labels of each prompt), ``custom_entities`` and ``description_ids``, the id of
    each label. A box that fits several descriptions is an instance of each. The files have no image
    sizes. Use ``model.test_cfg.exclusive_boxes=True``.

    Args:
        prefix: beginning of each prompt: DesCo's "Detect: ", or '' for plain prompts.
        chunk_size: how many texts are asked for together.
        **kwargs: those of :class:`CheckedDetection` and mmdet's ``BaseDetDataset``. ``test_mode``
            must be True.

    Raises:
        ValueError: ``chunk_size`` is below 1, the file is malformed, or this is no test.
    """

    PUBLISHED = {'omnilabel/dataset_all_val_v0.1.3_coco.json': dict(images=641, descriptions=1281)}
    names_may_read_alike = True  # a label space may contain a text twice

    def __init__(
        self, *args, prefix: str = 'Detect: ', chunk_size: int = 20, test_mode: bool, **kwargs
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f'chunk_size={chunk_size} must be 1 or more texts per prompt')
        if not test_mode:
            raise ValueError(
                'OmniLabelDataset is for tests (test_mode=True): the benchmark has no training set'
            )
        if kwargs.get('caption_prompt') is not None:
            raise ValueError(
                'OmniLabelDataset words its prompts itself: leave caption_prompt out, and set '
                'prefix and chunk_size'
            )
        self.prefix = prefix
        self.chunk_size = chunk_size
        super().__init__(*args, test_mode=test_mode, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One record per image; texts are added in :meth:`get_data_info`."""
        content = read_omnilabel(self.ann_file, False, self.backend_args)
        self.descriptions = content.descriptions
        records = []
        for image in content.images:
            positions = content.label_spaces[image['id']]
            if not positions:
                continue
            label_of = {self.descriptions[p].id: label for label, p in enumerate(positions)}
            records.append(
                dict(
                    img_id=image['id'],
                    img_path=self.image_file(
                        self.data_prefix.get('img', ''),
                        image['file_name'],
                        f'{self.ann_file}: image {image["id"]}',
                    ),
                    # a label space has hundreds of texts, many the same in thousands of images
                    label_space=np.array(positions, dtype=np.int32),
                    instances=[
                        dict(
                            bbox=[x, y, x + w, y + h],
                            ignore_flag=int(box.get('iscrowd') or 0),
                            bbox_label=label_of[i],
                        )
                        for box in content.boxes.get(image['id'], ())
                        for x, y, w, h in [box['bbox']]
                        for i in box['description_ids']
                    ],
                )
            )
        idle = len(content.images) - len(records)
        if idle:
            MMLogger.get_current_instance().warning(
                f'{self.ann_file}: {idle} of {len(content.images)} images are left out, because '
                'nothing is asked for on them'
            )
        return records

    def get_data_info(self, idx: int) -> dict:
        """A record with its prompts."""
        record = super().get_data_info(idx)
        label_space = [self.descriptions[i] for i in record.pop('label_space')]
        texts = [description.text for description in label_space]
        caption_prompt, chunk_sizes = questions(texts, self.prefix, self.chunk_size)
        record.update(
            text=distinct_names(texts),
            caption_prompt=caption_prompt,
            chunk_sizes=chunk_sizes,
            custom_entities=True,
            description_ids=[description.id for description in label_space],
        )
        return record


def questions(
    texts: Sequence[str], prefix: str = 'Detect: ', chunk_size: int = 20
) -> tuple[list[dict[str, str]], list[int]]:
    """The prompts for a label space, as DesCo's evaluation asks them.

    In order: a text of more than two words (between single blanks) is asked for alone; otherwise
    the next ``chunk_size`` texts are asked for together, long ones among them. A period at the end
    of a text is left out. The span of a text is all of it, or, of a text with "a kind of ", what
    stands before the first comma.

    Differs from DesCo's evaluation, which cleans texts like names of categories (brackets, ``_``,
    ``:``): texts stay as they are.

    Args:
        texts: of the label space, in order.
        prefix: beginning of each prompt.
        chunk_size: how many texts are asked for together.

    Returns:
        The wording of each text, as :func:`fiber_mmdet.text.category_prompt` takes it, and the
        number of texts in each prompt.
    """
    sizes, start = [], 0
    while start < len(texts):
        alone = len(texts[start].split(' ')) > SHORT
        sizes.append(1 if alone else min(chunk_size, len(texts) - start))
        start += sizes[-1]
    words = [_wording(text) for text in texts]
    start = 0
    for size in sizes:
        words[start]['prefix'] = prefix
        start += size
    return words, sizes


def _wording(text: str) -> dict[str, str]:
    shorter = text.removesuffix('.')
    text = shorter if shorter.strip() else text
    name, comma, rest = text.partition(',')
    if 'a kind of ' in text and name.strip():
        return dict(name=name, suffix=comma + rest)
    return dict(name=text)
