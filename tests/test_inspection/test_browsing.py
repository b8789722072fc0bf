"""What is shown of a sample is what the model is given."""

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.datasets.dataset_tree import leaves, locate
from fiber_mmdet.inspection.browsing import SampleBrowser
from fiber_mmdet.text import PromptTokenizer

KEYS = (
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'text',
    'custom_entities',
    'tokens_positive',
    'caption_prompt',
)
LOAD = [dict(type='LoadImageFromFile')]
BOXES = [dict(type='LoadAnnotations', with_bbox=True)]
RESIZE = [dict(type='ShortSideResize', scale=(400, 160))]
PACK = [dict(type='PackDetInputs', meta_keys=KEYS)]
CAPTION = 'a dog beside a left boat'


@pytest.fixture
def folder(tmp_path):
    """An image with a red box at (10, 20, 40, 60), as categories and as captions."""
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[20:60, 10:40] = (200, 10, 20)
    Image.fromarray(pixels).save(tmp_path / '1.png')
    image = dict(id=1, file_name='1.png', width=100, height=80)
    box = dict(id=1, image_id=1, bbox=[10, 20, 30, 40], area=1200, iscrowd=0, category_id=7)
    categories = [dict(id=i, name=name) for i, name in ((5, 'cat'), (7, 'dog'), (9, 'boat'))]
    (tmp_path / 'coco.json').write_text(
        json.dumps(dict(images=[image], annotations=[box], categories=categories))
    )
    (tmp_path / 'captions.json').write_text(
        json.dumps(
            dict(
                images=[dict(image, caption=CAPTION), dict(image, id=2, caption='nothing')],
                annotations=[dict(box, tokens_positive=[[2, 5]])],
            )
        )
    )
    return tmp_path


def coco(folder, pipeline, **kwargs):
    return dict(
        type='PromptCocoDataset',
        data_root=str(folder),
        ann_file='coco.json',
        data_prefix=dict(img=''),
        pipeline=pipeline,
        serialize_data=False,
        **kwargs,
    )


def captions(folder, pipeline, **kwargs):
    kind = dict(type='MDETRGroundingDataset', ann_file='captions.json')
    return dict(coco(folder, pipeline), **kind, **kwargs)


def browse(cfg, max_tokens=256, **kwargs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return SampleBrowser(
            DATASETS.build(cfg), PromptTokenizer('fiber_mmdet:mini', max_tokens), **kwargs
        )


def reddish(image):
    """The box around what is red, (x1, y1, x2, y2)."""
    rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 2] < 100))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def words(prompt, label):
    """The tokens of a label as text."""
    pieces = [prompt.caption[b:e] for b, e in prompt.pieces]
    return ''.join(pieces[token - 1] for token in prompt.tokens[prompt.labels.index(label)])


@pytest.mark.parametrize(
    'pipeline, test',
    [(LOAD + BOXES + RESIZE + PACK, False), (LOAD + RESIZE + BOXES + PACK, True)],
    ids=['boxes resized with the image', 'boxes loaded after the resize'],
)
def test_boxes_lie_on_the_image_as_it_is(folder, pipeline, test):
    sample = browse(coco(folder, pipeline, test_mode=test), test=test).look(0)
    assert sample.image.shape == (160, 200, 3) and sample.original_size == (100, 80)
    np.testing.assert_allclose(sample.boxes, [[20, 40, 80, 120]])
    # and the image is RGB again
    np.testing.assert_allclose(reddish(sample.image), sample.boxes[0], atol=1)
    assert sample.path.endswith('1.png') and not sample.flipped
    (prompt,) = sample.prompts
    assert prompt.caption == 'cat. dog. boat' and prompt.labels == (0, 1, 2)
    assert sample.labels == (1,) and words(prompt, 1) == 'dog'
    assert prompt.length == len(prompt.pieces) + 2 and prompt.limit == 256


def test_mirrored_captions(folder):
    flip = [dict(type='InclusiveBoxes'), dict(type='CaptionFlip', prob=1.0, swap_words=True)]
    sample = browse(captions(folder, LOAD + BOXES + flip + PACK)).look(0)
    assert sample.flipped and sample.prompts[0].caption == 'a dog beside a right boat'
    np.testing.assert_allclose(sample.boxes, [[60, 20, 89, 59]])
    assert words(sample.prompts[0], 0) == 'dog'


def test_a_caption_without_phrases(folder):
    browser = browse(captions(folder, LOAD + BOXES + PACK))
    sample = browser.look(1)
    assert len(sample.boxes) == 0 and sample.prompts[0].caption == 'nothing'
    assert sample.prompts[0].labels == ()


def test_chunks_number_labels_through(folder):
    sample = browse(
        coco(folder, LOAD + RESIZE + PACK, test_mode=True), test=True, chunked_size=2
    ).look(0)
    assert [p.caption for p in sample.prompts] == ['cat. dog', 'boat']
    assert [p.labels for p in sample.prompts] == [(0, 1), (2,)]
    assert len(sample.boxes) == 0  # the pipeline loads none


def test_what_is_cut_off_has_no_tokens(folder):
    (prompt,) = browse(coco(folder, LOAD + BOXES + PACK), max_tokens=4).look(0).prompts
    assert prompt.length > 4 == prompt.limit and len(prompt.pieces) == 2
    assert prompt.tokens[0] and not prompt.tokens[1] and not prompt.tokens[2]


def test_samples_are_repeatable(folder):
    sampler = [dict(type='SampleCategories'), dict(type='CaptionFlip', prob=0.5)]
    browser = browse(
        dict(type='RepeatDataset', times=20, dataset=coco(folder, LOAD + BOXES + sampler + PACK))
    )

    def looks(seed):
        samples = [browser.look(i, seed) for i in range(20)]
        return [(s.flipped, s.prompts[0].caption) for s in samples]

    assert looks(3) == looks(3) and len(set(looks(3))) > 4
    assert looks(3) != looks(4)
    assert [browser.look(7, 3).prompts[0].caption] == [looks(3)[7][1]]


def test_inside_wrappers(folder):
    cfg = dict(
        type='ConcatDataset',
        ignore_keys=['classes'],
        datasets=[
            dict(type='RepeatDataset', times=2, dataset=captions(folder, LOAD + BOXES + PACK)),
            coco(folder, LOAD + RESIZE + BOXES + PACK),
        ],
    )
    browser = browse(cfg)
    assert len(browser) == 5 and len(list(leaves(browser.dataset))) == 2
    assert [locate(browser.dataset, i)[1] for i in range(5)] == [0, 1, 0, 1, 0]
    assert [browser.look(i).prompts[0].caption for i in (2, 4)] == [CAPTION, 'cat. dog. boat']
    np.testing.assert_allclose(browser.look(4).boxes, [[20, 40, 80, 120]])


def test_dropped_samples(folder):
    drop = [dict(type='FilterAnnotations', min_gt_bbox_wh=(99, 99))]
    assert browse(coco(folder, LOAD + BOXES + drop + PACK)).look(0) is None
