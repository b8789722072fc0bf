"""COCO-style json files, indexed for mmdet, and what the log says about them."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import MMLogger

from fiber_mmdet.fields import BOX, FLAG, ID, SPANS, TEXT, WHOLE, Kind, list_of
from fiber_mmdet.formats.coco_file import BOX_FIELDS, IMAGE_FIELDS, read_coco

TRUTH_FIELDS = dict(id=ID)  # what a metric needs of an image
CAPTION_FIELDS = dict(
    IMAGE_FIELDS,
    caption=TEXT,
    tokens_positive_eval=list_of(SPANS) | None,
    original_img_id=ID | None,
    sentence_id=WHOLE | None,
    data_source=TEXT | None,
    dataset_name=TEXT | None,
)
LABELS = Kind(
    'a whole number or a list of such',
    lambda value: WHOLE.fits(value) or isinstance(value, list) and all(map(WHOLE.fits, value)),
)
CAPTION_BOX_FIELDS = dict(
    id=WHOLE,
    image_id=ID,
    bbox=BOX,
    iscrowd=FLAG | None,
    tokens_positive=SPANS | None,
    tokens=SPANS | None,
    phrase_ids=LABELS | None,
)
TEXTS = Kind(
    'an object from texts to texts',
    lambda value: isinstance(value, dict) and all(map(TEXT.fits, (*value, *value.values()))),
)
# what language models wrote about a caption, and the nouns of a box's phrase
WRITTEN_FIELDS = dict(gpt3_outputs=TEXTS | None)
NOUN_FIELDS = dict(nouns=list_of(TEXT) | None)


def open_coco(
    path: str,
    ann_file: str,
    image_fields: Mapping[str, Kind] = IMAGE_FIELDS,
    box_fields: Mapping[str, Kind] = BOX_FIELDS,
    annotated: bool = True,
    prepare: Callable[[dict], None] | None = None,
) -> COCO:
    """A COCO-style file, indexed, with mmdet's names for its methods.

    For arguments and errors see :func:`~fiber_mmdet.formats.coco_file.read_coco`.
    """
    coco = COCO()
    coco.dataset = read_coco(path, ann_file, image_fields, box_fields, annotated, prepare)
    with redirect_stdout(io.StringIO()):  # it announces that it begins and ends
        coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def images_with_boxes(coco: COCO) -> Iterator[tuple[dict, list[dict]]]:
    """Each image with its annotations, in the order of the file.

    They are let go one by one, and the file with them: what is made of them takes their place in
    memory instead of adding to it.
    """
    images, boxes_of = coco.dataset['images'], coco.imgToAnns
    coco.dataset = {}
    coco.anns, coco.imgs, coco.imgToAnns, coco.img_ann_map = {}, {}, {}, {}
    images.reverse()
    while images:
        image = images.pop()
        yield image, boxes_of.pop(image['id'], [])


def report_left_out(
    boxes: list[dict], categories: list[dict], ann_file: str, training: bool
) -> None:
    """Log crowds, and categories that nothing is annotated with.

    Args:
        boxes: annotations of the file.
        categories: those that the dataset asks for, in the file's order.
        ann_file: what the log calls the file.
        training: name all categories without an annotation; otherwise only those that group
            others, since a test set often lacks some.
    """
    logger = MMLogger.get_current_instance()
    crowds = sum(bool(box.get('iscrowd')) for box in boxes)
    if crowds:
        logger.info(
            f'{ann_file}: {crowds} of {len(boxes)} boxes are crowds (iscrowd): they are not '
            'learned, and an evaluation ignores them'
        )
    used = {box['category_id'] for box in boxes}
    if not used:
        return
    groups = {category.get('supercategory') for category in categories}
    idle = [c['name'] for c in categories if c['id'] not in used]
    above = [name for name in idle if name in groups]
    for names, what in (
        (above, 'only group others and have no annotation'),
        ([name for name in idle if name not in above] if training else [], 'have no annotation'),
    ):
        if names:
            some = ', '.join(map(repr, names[:5])) + ', …' * (len(names) > 5)
            logger.warning(
                f'{ann_file}: {len(names)} of {len(categories)} categories {what} ({some}): they '
                'are prompted for, and everything is a negative of them. Set annotated_only=True '
                'or metainfo.classes to leave them out'
            )
