"""Transforms of images and boxes: the reference's sizes, inclusive boxes, mirrored words."""

import copy
import json

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import (
    FilterAnnotations,
    FixScaleResize,
    GTBoxSubOne_GLIP,
    PackDetInputs,
)
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.datasets import CaptionFlip, InclusiveBoxes, ShortSideResize
from fiber_mmdet.datasets.transforms.caption_flip import mirror_words
from fiber_mmdet.datasets.transforms.short_side_resize import short_side_size


def pixels(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample(boxes, size=(100, 80), **more):
    """A sample inside a pipeline; ``size`` is (width, height)."""
    image = pixels(*size)
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return dict(
        img=image,
        img_shape=image.shape[:2],
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.arange(len(boxes)),
        **more,
    )


# ------------------------------------------------------------------------- size
def expected_size(w, h, long, short):
    """The rule in whole numbers where it truncates."""
    if w == h:
        side = short if short <= long else long
        return side, side
    low, high = sorted((w, h))
    if high * short > long * low:
        short = round(long * (low / high))
    other = short * high // low
    return (short, other) if w < h else (other, short)


@pytest.mark.parametrize('short', [480, 560, 640, 720, 800])
def test_sizes_of_a_grid(short):
    for w in range(200, 1001, 23):
        for h in range(200, 1001, 19):
            assert short_side_size(w, h, 1333, short) == expected_size(w, h, 1333, short), (w, h)


def test_known_sizes():
    assert short_side_size(640, 360, 1333, 800) == (1333, 750)  # 749.8 is rounded
    assert short_side_size(360, 640, 1333, 800) == (750, 1333)
    assert short_side_size(640, 480, 1333, 800) == (1066, 800)
    assert short_side_size(800, 800, 1333, 800) == (800, 800)
    assert short_side_size(5000, 1, 1333, 800) == (5000, 1)
    # a short side of 12.5 and of 13.5 pixels: halves go to the even number
    assert short_side_size(2000, 25, 1000, 800) == (960, 12)
    assert short_side_size(2000, 27, 1000, 800) == (1037, 14)


def test_pixels_are_those_of_pillow():
    out = ShortSideResize(scale=(200, 90)).transform(sample([[10, 20, 30, 40]], (61, 47)))
    size = expected_size(61, 47, 200, 90)
    expected = Image.fromarray(pixels(61, 47)).resize(size, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(out['img'], np.asarray(expected))
    assert out['img_shape'] == size[::-1] and out['scale'] == size and out['keep_ratio'] is True
    ratios = size[0] / 61, size[1] / 47
    assert out['scale_factor'] == pytest.approx(ratios, abs=1e-12)
    torch.testing.assert_close(
        out['gt_bboxes'].tensor[0],
        torch.tensor([10 * ratios[0], 20 * ratios[1], 30 * ratios[0], 40 * ratios[1]]),
    )


def test_an_image_of_the_right_size_stays():
    for size in ((120, 90), (90, 120), (200, 90)):
        out = ShortSideResize(scale=(90, 200)).transform(sample([[1, 2, 3, 4]], size))
        np.testing.assert_array_equal(out['img'], pixels(*size))
        assert out['scale_factor'] == (1.0, 1.0)


def test_masks_and_maps_get_the_size_of_the_image():
    given = sample(
        [[10, 20, 30, 40]],
        (640, 360),
        gt_seg_map=np.zeros((360, 640), np.uint8),
        gt_masks=BitmapMasks(np.ones((1, 360, 640), np.uint8), 360, 640),
    )
    out = ShortSideResize().transform(given)
    assert out['img'].shape == (750, 1333, 3) and out['gt_seg_map'].shape == (750, 1333)
    assert out['gt_masks'].masks.shape == (1, 750, 1333)


def test_resize_inside_a_random_choice():
    with DefaultScope.overwrite_default_scope('mmdet'):
        resize = TRANSFORMS.build(
            dict(
                type='RandomChoiceResize',
                resize_type='ShortSideResize',
                keep_ratio=True,
                scales=[(1333, 480), (1333, 800)],
            )
        )
    np.random.seed(0)
    sizes = {resize(sample([[0, 0, 9, 9]], (640, 360)))['img_shape'] for _ in range(12)}
    assert sizes == {(480, 853), (750, 1333)}
    with pytest.raises(ValueError, match='keeps the ratio'):
        ShortSideResize(keep_ratio=False)


def test_the_size_is_another_than_that_of_mmdet():
    out = FixScaleResize(scale=(1333, 800), keep_ratio=True, backend='pillow').transform(
        sample([[0, 0, 9, 9]], (640, 360))
    )
    # if this fails, ShortSideResize may no longer be needed
    assert out['img_shape'] == (749, 1333)


# ------------------------------------------------------------------------ boxes
BOXES = [
    [10, 20, 40, 60],  # inside
    [-5, -6, 30, 90],  # over two edges
    [10.5, 20.5, 12, 22],  # 1.5 pixels
    [10, 20, 11, 60],  # one pixel wide
    [10, 20, 60, 20.4],  # less than one pixel high
    [100, 10, 130, 50],  # outside
    [99, 10, 130, 50],  # its only column is the last one
    [98, 10, 130, 50],
]
INCLUSIVE = {0: [10, 20, 39, 59], 1: [0, 0, 29, 79], 2: [10.5, 20.5, 11, 21], 7: [98, 10, 99, 49]}


def test_inclusive_boxes():
    out = InclusiveBoxes().transform(sample(BOXES))
    assert out['gt_bboxes_labels'].tolist() == list(INCLUSIVE)
    torch.testing.assert_close(out['gt_bboxes'].tensor, torch.tensor(list(INCLUSIVE.values())))


def test_boxes_that_are_inclusive_already():
    out = InclusiveBoxes(already_inclusive=True).transform(sample(BOXES))
    assert out['gt_bboxes_labels'].tolist() == [0, 1, 2, 3, 4, 7]
    assert out['gt_bboxes'].tensor[0].tolist() == BOXES[0]
    assert out['gt_bboxes'].tensor[-1].tolist() == [98, 10, 99, 50]


def test_crowds():
    out = InclusiveBoxes().transform(
        sample(
            [BOXES[0], BOXES[1], BOXES[0]],
            gt_ignore_flags=np.array([0, 1, 0], dtype=bool),
            phrase_ids=[7, 8, 9],
            gt_masks=BitmapMasks(np.ones((3, 80, 100), np.uint8), 80, 100),
        )
    )
    assert out['gt_bboxes_labels'].tolist() == [0, 2] and out['phrase_ids'] == [7, 9]
    assert len(out['gt_masks']) == len(out['gt_ignore_flags']) == 2
    InclusiveBoxes(drop_ignored=True)  # an argument up to version 0.1


def test_an_image_that_loses_its_boxes_stays():
    out = InclusiveBoxes().transform(sample([BOXES[5]], text=['a'], tokens_positive=[[[0, 1]]]))
    assert len(out['gt_bboxes']) == len(out['gt_bboxes_labels']) == 0
    assert out['text'] == ['a'] and out['tokens_positive'] == [[[0, 1]]]
    assert len(InclusiveBoxes().transform(sample([]))['gt_bboxes']) == 0


def test_same_boxes_as_mmdet_where_nothing_is_clipped_or_small():
    boxes = np.random.default_rng(0).uniform(2, 70, (20, 2))
    boxes = np.concatenate([boxes, boxes + 5], axis=1).tolist()
    ours = InclusiveBoxes().transform(sample(boxes))
    theirs = FilterAnnotations().transform(GTBoxSubOne_GLIP().transform(sample(boxes)))
    assert torch.equal(ours['gt_bboxes'].tensor, theirs['gt_bboxes'].tensor)


def test_out_of_order_is_an_error():
    with pytest.raises(KeyError, match="needs 'gt_bboxes': put it after LoadAnnotations"):
        InclusiveBoxes().transform(dict(img_shape=(3, 3)))
    with pytest.raises(KeyError, match="needs 'img_shape': put it after LoadImageFromFile"):
        InclusiveBoxes().transform({})


@pytest.fixture
def crowded(tmp_path):
    """An image with a dog, a crowd of cats and a box outside it; and the boxes of the dog."""
    Image.fromarray(pixels(100, 80)).save(tmp_path / '1.png')
    box = dict(image_id=1, area=900)
    (tmp_path / 'coco.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='1.png', width=100, height=80)],
                categories=[
                    dict(id=i, name=name) for i, name in enumerate(('dog', 'cat', 'cow'), 1)
                ],
                annotations=[
                    dict(box, id=1, bbox=[10, 20, 30, 40], category_id=1, iscrowd=0),
                    dict(box, id=2, bbox=[0, 0, 90, 70], category_id=2, iscrowd=1),
                    dict(box, id=3, bbox=[-5, -5, 60, 60], category_id=1, iscrowd=0),
                ],
            )
        )
    )
    return tmp_path, torch.tensor([[10, 20, 39, 59], [0, 0, 54, 54]], dtype=torch.float32)


def test_the_model_sees_no_crowd(crowded):
    folder, boxes = crowded
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='PromptCocoDataset',
                data_root=str(folder),
                ann_file='coco.json',
                data_prefix=dict(img=''),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='InclusiveBoxes'),
                    dict(type='SampleCategories', max_negatives=0),
                    dict(type='PackDetInputs', meta_keys=('text',)),
                ],
            )
        )
        found = dataset[0]['data_samples']
    assert torch.equal(found.gt_instances.bboxes.tensor, boxes)
    assert set(found.text) == {'dog'}
    assert {found.text[i] for i in found.gt_instances.labels} == {'dog'}
    assert len(found.ignored_instances) == 0


# ------------------------------------------------------------------------- flip
def flipped(swap_words=True, prob=1.0, boxes=((10, 20, 39, 59),), **prompt):
    return CaptionFlip(prob, swap_words=swap_words).transform(sample(boxes, **prompt))


def test_boxes_are_mirrored_pixel_by_pixel():
    given = sample([[10, 20, 39, 59], [0, 0, 99, 79], [99, 3, 99, 3]])
    given['img'] = np.zeros((80, 100, 3), np.uint8)
    given['img'][20:60, 10:40] = 255
    out = CaptionFlip(1).transform(given)
    expected = [[60, 20, 89, 59], [0, 0, 99, 79], [0, 3, 0, 3]]
    assert out['gt_bboxes'].tensor.tolist() == expected and out['flip'] is True
    rows, columns = np.nonzero(out['img'][..., 0])
    assert [columns.min(), rows.min(), columns.max(), rows.max()] == expected[0]


def test_flips_have_their_probability_and_reproducible():
    def flips(prob):
        np.random.seed(0)
        return [bool(flipped(prob=prob, text='left')['flip']) for _ in range(300)]

    assert not any(flips(0)) and all(flips(1)) and 120 < sum(flips(0.5)) < 180
    assert flips(0.5) == flips(0.5)


def test_words_stay_by_default():
    prompt = dict(text='the left dog', tokens_positive=[[[4, 12]]])
    out = CaptionFlip(1.0).transform(sample([[0, 0, 5, 5]], **prompt))
    assert {key: out[key] for key in prompt} == prompt


def test_words_stay_where_the_image_does():
    assert flipped(prob=0.0, text='the left dog')['text'] == 'the left dog'


@pytest.mark.parametrize(
    'text, expected',
    [
        ('left', 'right'),
        ('the Left or RIGHT one', 'the Right or LEFT one'),
        ('leftmost, rightmost', 'rightmost, leftmost'),
        ('a left-hand drive', 'a right-hand drive'),
        ('right-most', 'left-most'),
        ('lefthand side', 'righthand side'),
        ('upper-left corner', 'upper-right corner'),
        ('topleft', 'topright'),
        ('rightwards', 'leftwards'),
        ("the left's", "the right's"),
        ('left_arm', 'right_arm'),
        ('left/right', 'right/left'),
        ('Leftmost.', 'Rightmost.'),
        ('leftover bright copyright upright lefty', 'leftover bright copyright upright lefty'),
    ],
)
def test_which_words_change(text, expected):
    new, edits = mirror_words(text)
    assert new == expected and mirror_words(new)[0] == text
    assert [new_length for _, _, new_length in edits] == [
        9 - (end - begin) for begin, end, _ in edits
    ]


CAPTION = 'Left dog, the right cat left of a cow'
PHRASES = [['Left dog'], ['the right cat'], ['a cow'], ['Left dog', 'a cow'], ['left of']]
MIRRORED = [['Right dog'], ['the left cat'], ['a cow'], ['Right dog', 'a cow'], ['right of']]


def spans_of(phrases):
    return [
        [[CAPTION.index(words), CAPTION.index(words) + len(words)] for words in pieces]
        for pieces in phrases
    ]


@pytest.mark.parametrize('as_dict', [False, True])
def test_spans_move_with_their_words(as_dict):
    spans = spans_of(PHRASES)
    given = dict(zip((3, 1, 4, 8, 5), spans)) if as_dict else spans
    before = json.dumps(given)
    out = flipped(text=CAPTION, tokens_positive=given)
    assert out['text'] == 'Right dog, the left cat right of a cow'
    moved = list(out['tokens_positive'].values()) if as_dict else out['tokens_positive']
    assert [[out['text'][b:e] for b, e in pieces] for pieces in moved] == MIRRORED
    assert json.dumps(given) == before  # the dataset keeps its own
    assert not as_dict or list(out['tokens_positive']) == [3, 1, 4, 8, 5]


def test_a_span_that_cuts_a_word_takes_all_of_it():
    out = flipped(text='a left dog', tokens_positive=[[[0, 4]], [[4, 10]], [[2, 6]]])
    words = [out['text'][b:e] for ((b, e),) in out['tokens_positive']]
    assert words == ['a right', 'right dog', 'right']


def test_whole_captions_and_names():
    out = flipped(text='the left dog', tokens_positive=-1)
    assert out['text'] == 'the right dog' and out['tokens_positive'] == -1
    names = ('left shoe', 'right shoe', 'hat')
    out = flipped(text=names, caption_prompt=None)
    assert out['text'] == ['right shoe', 'left shoe', 'hat'] and out['caption_prompt'] is None
    assert out['gt_bboxes_labels'].tolist() == [0]  # what was a left shoe is a right one now
    assert names == ('left shoe', 'right shoe', 'hat')


def test_phrases_follow_their_caption():
    out = flipped(text='a left shoe, a hat', phrases=['left shoe', 'hat'])
    assert out['text'] == 'a right shoe, a hat' and out['phrases'] == ['right shoe', 'hat']


def test_words_around_names():
    around = dict(prefix='left ', name='Right', suffix=' on the far right')
    mirrored = dict(prefix='right ', name='Left', suffix=' on the far left')
    out = flipped(text=['left shoe', 'hat'], caption_prompt={'left shoe': around})
    assert out['caption_prompt'] == {'right shoe': mirrored}
    out = flipped(text=['left shoe', 'hat'], caption_prompt=[around, {}])
    assert out['caption_prompt'] == [mirrored, {}]
    assert around['prefix'] == 'left '


def test_packed_samples_carry_the_mirrored_prompt():
    out = PackDetInputs(meta_keys=('text', 'tokens_positive', 'flip')).transform(
        flipped(text='the left dog', tokens_positive=[[[4, 12]]])
    )
    found = out['data_samples']
    assert found.text == 'the right dog' and found.tokens_positive == [[[4, 13]]] and found.flip


# ------------------------------------------------------------- names that say left or right
@pytest.mark.parametrize(
    'names, words, labels, mirrored',
    [
        (['left shoe', 'hat'], None, [0, 1], False),
        (['left shoe', 'hat'], None, [1], True),  # only a negative of this image
        (['left shoe', 'hat'], None, [], True),
        (['rightmost_door'], None, [0], False),
        (['bright leftover'], None, [0], True),
        (['shoe'], {'shoe': dict(suffix=' on the left')}, [0], False),
        (['shoe'], [dict(name='right shoe')], [0], False),
        ('the left shoe', None, [0], True),  # captions: as in the reference
    ],
)
def test_images_of_left_and_right_things_are_not_mirrored(names, words, labels, mirrored):
    given = dict(
        img=np.zeros((4, 6, 3), np.uint8),
        img_shape=(4, 6),
        gt_bboxes=HorizontalBoxes(torch.tensor([[0.0, 0, 1, 1]] * len(labels)).reshape(-1, 4)),
        gt_bboxes_labels=np.array(labels, dtype=np.int64),
        text=names,
        caption_prompt=words,
    )
    flip = CaptionFlip(prob=1.0)
    found = flip.transform(copy.deepcopy(given))
    assert found['flip'] is mirrored
    if isinstance(names, list):
        swapped = CaptionFlip(prob=1.0, swap_words=True).transform(given)
        assert swapped['flip'] is True
        if names[0] == 'left shoe':
            assert swapped['text'][0] == 'right shoe'
