"""Transforms of image-text samples, against independent computations."""

import math

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image, ImageEnhance, ImageOps

from fiber_mmdet.datasets import FlipViews, ImageRandAugment, PackImageText, RandomResizedCrop
from fiber_mmdet.datasets.image_errors import ImageReadError
from fiber_mmdet.structures import ImageTextSample

LOAD = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
RESIZE = dict(
    type='Resize', scale=(24, 24), keep_ratio=False, interpolation='bicubic', backend='pillow'
)


def pixels(height=48, width=64, seed=0):
    """Smooth colours with some noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (4, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / 'image.png'
    Image.fromarray(pixels()).save(path)
    return str(path)


def build(*cfgs):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return Compose([TRANSFORMS.build(cfg) for cfg in cfgs])


def sample(**views):
    return dict(
        views={name: dict(img=image) for name, image in views.items()}, text='a dog', image_id=3
    )


# EachView


def test_evaluation_resizes_as_pillow_does(image_file):
    pipeline = build(dict(type='EachView', transforms=[LOAD, RESIZE]))
    views = pipeline(dict(views=dict(image=dict(img_path=image_file))))['views']
    want = Image.open(image_file).resize((24, 24), Image.BICUBIC)
    # channels apart: mmcv holds BGR
    assert np.array_equal(views['image']['img'][..., ::-1], np.asarray(want))


def test_random_transforms_draw_for_each_view():
    image = pixels()
    pipeline = build(dict(type='EachView', transforms=[dict(type='RandomFlip', prob=0.5)]))
    np.random.seed(0)
    flips = {
        tuple(
            np.array_equal(view['img'], image)
            for view in pipeline(sample(image=image, image_1=image))['views'].values()
        )
        for _ in range(30)
    }
    assert len(flips) == 4


def test_dropped_images_are_logged(image_file, tmp_path, caplog):
    (tmp_path / 'broken.png').write_bytes(b'not an image')
    pipeline = build(dict(type='EachView', transforms=[dict(LOAD, ignore_empty=True)]))
    logger = MMLogger.get_instance('dropped')
    logger.addHandler(caplog.handler)
    for name in ('broken.png', 'image.png', *3 * ['broken.png'], *4 * ['gone.png']):
        found = pipeline(dict(views=dict(image=dict(img_path=str(tmp_path / name)))))
        assert (found is None) == (name != 'image.png')
    logger.removeHandler(caplog.handler)
    told = [record.getMessage() for record in caplog.records]
    assert [f'number {n} of' in line for n, line in zip((1, 2, 4, 8), told)] == 4 * [True]
    assert len(told) == 4 and 'broken.png' in told[0] and 'gone.png' in told[3]


def test_the_views_of_the_dataset_are_left_alone(image_file):
    views = dict(image=dict(img_path=image_file))
    build(dict(type='EachView', transforms=[LOAD]))(dict(views=views))
    assert views == dict(image=dict(img_path=image_file))


def test_images_that_cannot_be_read(tmp_path):
    (tmp_path / 'text.jpg').write_text('not an image')
    load = build(dict(type='EachView', transforms=[LOAD]))
    with pytest.raises(
        ImageReadError, match='cannot read .*text.jpg as an image .*: replace the file'
    ):
        load(dict(views=dict(image=dict(img_path=str(tmp_path / 'text.jpg')))))
    with pytest.raises(
        ImageReadError, match='no image .*none.jpg: check data_root, data_prefix and im'
    ):
        load(dict(views=dict(image=dict(img_path=str(tmp_path / 'none.jpg')))))
    skip = build(dict(type='EachView', transforms=[dict(LOAD, ignore_empty=True)]))
    assert skip(dict(views=dict(image=dict(img_path=str(tmp_path / 'none.jpg'))))) is None


# PackImageText


def test_packing():
    results = sample(image=pixels(), image_1=pixels(seed=1).astype(np.float32))
    results['views']['image']['img_path'] = 'a.jpg'
    results.update(captions=['a dog', 'dogs'], label=1, answer_scores=[0.3], sample_idx=5)
    packed = PackImageText()(results)
    assert {name: (x.shape, x.dtype) for name, x in packed['inputs'].items()} == {
        'image': ((3, 48, 64), torch.uint8),
        'image_1': ((3, 48, 64), torch.float32),
    }
    assert np.array_equal(packed['inputs']['image'].permute(1, 2, 0).numpy(), pixels())
    known = packed['data_samples']
    assert isinstance(known, ImageTextSample)
    assert {key: known.get(key) for key in known.metainfo_keys()} == dict(
        text='a dog',
        image_id=3,
        img_path='a.jpg',
        captions=['a dog', 'dogs'],
        label=1,
        answer_scores=[0.3],
    )
    few = PackImageText(meta_keys=('text', 'sample_idx'))(results)['data_samples']
    assert sorted(few.metainfo_keys()) == ['sample_idx', 'text'] and few.sample_idx == 5


def test_packing_before_loading_is_refused():
    with pytest.raises(KeyError, match="view 'image' has no img: load images by EachView"):
        PackImageText()(dict(views=dict(image=dict(img_path='a.jpg')), text='x'))


def test_fields_survive_collation_and_devices():
    items = [
        PackImageText()(dict(sample(image=pixels()), answer_labels=labels))
        for labels in ([1, 2], [])
    ]
    batch = pseudo_collate(items)
    assert [s.answer_labels for s in batch['data_samples']] == [[1, 2], []]
    assert [x.shape for x in batch['inputs']['image']] == 2 * [(3, 48, 64)]
    assert batch['data_samples'][0].to('cpu').answer_labels == [1, 2]


# FlipViews


@pytest.mark.parametrize(
    'swap, text', [(False, 'Left of the bright dog'), (True, 'Right of the bright dog')]
)
def test_all_views_are_mirrored_together(swap, text):
    a, b = pixels(), pixels(seed=1)
    results = dict(sample(image=a, false_image=b), text='Left of the bright dog')
    captions = results['captions'] = ['Left of the bright dog', 'no side']
    results = FlipViews(1.0, swap_words=swap)(results)
    assert np.array_equal(results['views']['image']['img'], a[:, ::-1])
    assert np.array_equal(results['views']['false_image']['img'], b[:, ::-1])
    assert results['views']['image']['flip'] is True
    assert results['text'] == text and results['captions'] == [text, 'no side']
    assert captions[0].startswith('Left')


def test_a_mirrored_pair_changes_places_with_its_words():
    a, b = pixels(), pixels(seed=1)
    results = dict(sample(image=a, image_1=b), text='the left image')
    swapped = FlipViews(1.0, swap_words=True)(results)
    assert swapped['text'] == 'the right image'
    assert np.array_equal(swapped['views']['image']['img'], b[:, ::-1])
    assert np.array_equal(swapped['views']['image_1']['img'], a[:, ::-1])
    kept = FlipViews(1.0)(dict(sample(image=a, image_1=b), text='the left image'))
    assert np.array_equal(kept['views']['image']['img'], a[:, ::-1])


def test_flips_happen_with_their_probability():
    np.random.seed(0)
    flips = [
        FlipViews(0.3)(sample(image=pixels(4, 4), image_1=pixels(4, 4)))['views']
        for _ in range(1000)
    ]
    assert all(views['image']['flip'] == views['image_1']['flip'] for views in flips)
    assert 250 < sum(views['image']['flip'] for views in flips) < 350


def test_answers_are_not_mirrored():
    with pytest.raises(ValueError, match='cannot mirror the answers'):
        FlipViews(0.5, swap_words=True)(dict(sample(image=pixels()), answer_labels=[1]))
    with pytest.raises(ValueError, match='prob=2 must be between'):
        FlipViews(2)


# RandomResizedCrop


def drawn(crop, width, height, count=400):
    np.random.seed(0)
    return np.array([crop.rectangle(width, height) for _ in range(count)])


def test_crops_have_the_requested_areas_and_ratios():
    x, y, w, h = drawn(RandomResizedCrop(24), 640, 480, 2000).T
    assert (x >= 0).all() and (y >= 0).all() and (x + w <= 640).all() and (y + h <= 480).all()
    area, ratio = w * h / (640 * 480), np.log(w / h)
    assert 0.495 < area.min() < 0.51 and 0.85 < area.max() <= 1
    assert math.log(0.745) < ratio.min() and ratio.max() < math.log(1.34)
    assert x.min() == 0 and (x + w).max() == 640  # up to the border


def test_small_crops_are_uniform_in_area_and_log_ratio():
    """All fit, so none is drawn again."""
    x, y, w, h = drawn(RandomResizedCrop(24, area=(0.1, 0.3)), 1000, 1000, 3000).T
    for values, low, high in (
        (w * h / 1e6, 0.1, 0.3),
        (np.log(w / h), math.log(3 / 4), math.log(4 / 3)),
        (x / (1000 - w), 0, 1),
        (y / (1000 - h), 0, 1),
    ):
        quartiles = np.quantile((values - low) / (high - low), (0.25, 0.5, 0.75))
        assert quartiles == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


@pytest.mark.parametrize(
    'size, rectangle',
    [
        ((1000, 100), (433, 0, 133, 100)),
        ((100, 1000), (0, 433, 100, 133)),
        ((110, 100), (0, 0, 110, 100)),
    ],
)
def test_the_middle_is_taken_where_nothing_fits(size, rectangle):
    assert RandomResizedCrop(24, area=(2.0, 2.0)).rectangle(*size) == rectangle


def test_crops_are_resized_as_pillow_does():
    image, crop = pixels(), RandomResizedCrop(16)
    np.random.seed(3)
    x, y, w, h = crop.rectangle(64, 48)
    np.random.seed(3)
    results = crop(dict(img=image))
    want = Image.fromarray(image[y : y + h, x : x + w]).resize((16, 16), Image.BICUBIC)
    assert np.array_equal(results['img'], np.asarray(want)) and results['img_shape'] == (16, 16)


@pytest.mark.parametrize(
    'kwargs, error, message',
    [
        (dict(area=(0.5,)), ValueError, 'area=.* must be two positive numbers'),
        (dict(ratio=(2, 1)), ValueError, 'ratio=.* must be two positive numbers'),
        (dict(interpolaton='x'), TypeError, "Did you mean 'interpolation'"),
    ],
)
def test_faulty_crops(kwargs, error, message):
    with pytest.raises(error, match=message):
        RandomResizedCrop(16, **kwargs)


# ImageRandAugment


def augmented(name, image=None, sign=None, **kwargs):
    """One operation on one image, in the direction that numpy draws."""
    if sign is not None:
        np.random.seed({1: 1, -1: 0}[sign])  # the first numbers are 0.417 and 0.549
    return ImageRandAugment(**kwargs).apply(name, pixels() if image is None else image)


@pytest.mark.parametrize(
    'name, enhance',
    [
        ('AutoContrast', ImageOps.autocontrast),
        ('Equalize', ImageOps.equalize),
        ('Brightness', lambda image: ImageEnhance.Brightness(image).enhance(1.36)),
        ('Sharpness', lambda image: ImageEnhance.Sharpness(image).enhance(1.36)),
        ('Identity', lambda image: image),
    ],
)
def test_colours_are_those_of_pillow(name, enhance):
    found = augmented(name).astype(int)
    want = np.asarray(enhance(Image.fromarray(pixels()))).astype(int)
    # Pillow leaves the outermost pixels as they are when it sharpens
    inner = (slice(1, -1), slice(1, -1)) if name == 'Sharpness' else ()
    assert abs(found - want)[inner].max() <= 1
    assert name == 'Identity' or abs(found - pixels().astype(int)).mean() > 0.5


def test_colours_do_not_depend_on_the_order_of_channels():
    for name in ('AutoContrast', 'Equalize', 'Brightness', 'Sharpness'):
        swapped = augmented(name, np.ascontiguousarray(pixels()[..., ::-1]))
        assert np.array_equal(swapped[..., ::-1], augmented(name)), name


def test_brightness_is_a_factor_and_saturates():
    found = augmented('Brightness', np.full((2, 2, 3), 100, np.uint8))
    assert (found == 136).all()
    assert (augmented('Brightness', np.full((2, 2, 3), 200, np.uint8)) == 255).all()
    assert (augmented('Brightness', np.full((2, 2, 3), 100, np.uint8), level=0) == 10).all()


def test_auto_contrast_cuts_nothing_off():
    image = np.tile(np.linspace(50, 150, 101).astype(np.uint8)[:, None, None], (1, 4, 3))
    found = augmented('AutoContrast', image)[:, 0, 0]
    assert abs(found - 255 * (image[:, 0, 0] - 50.0) / 100).max() <= 1


def where(image):
    """(x, y) of the bright spot."""
    bright = image[..., 0].astype(float) - 128
    y, x = np.indices(bright.shape)
    return np.array([(x * bright).sum(), (y * bright).sum()]) / bright.sum()


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize(
    'name, moved',
    [
        ('TranslateX', lambda x, y: (7, 0)),
        ('TranslateY', lambda x, y: (0, 7)),
        ('ShearX', lambda x, y: (0.21 * y, 0)),
        ('ShearY', lambda x, y: (0, 0.21 * x)),
    ],
)
def test_displacements(name, moved, sign):
    image = np.full((80, 100, 3), 128, np.uint8)
    image[28:33, 48:53] = 255
    begin = where(image)
    shift = where(augmented(name, image, sign)) - begin
    assert abs(shift) == pytest.approx(np.abs(moved(*begin)), abs=0.2)
    assert np.sign(shift[np.abs(shift) > 1]).tolist() == [sign]


@pytest.mark.parametrize('sign', [1, -1])
def test_rotation_by_21_degrees_around_the_centre(sign):
    image = np.full((81, 101, 3), 128, np.uint8)
    image[38:43, 68:73] = 255  # 20 pixels right of the centre
    found = where(augmented('Rotate', image, sign)) - (50, 40)
    angle = math.radians(21)
    assert found == pytest.approx((20 * math.cos(angle), sign * 20 * math.sin(angle)), abs=0.2)


@pytest.mark.parametrize('name', ['TranslateX', 'TranslateY', 'ShearX', 'ShearY', 'Rotate'])
def test_uncovered_pixels_are_grey(name):
    white = np.full((60, 60, 3), 255, np.uint8)
    found = augmented(name, white)
    assert found.shape == white.shape and found.dtype == np.uint8
    # bilinear: a border of mixed values between the image and the fill
    for value, share in ((128, 0.05), (255, 0.5)):
        assert (found == value).all(-1).mean() > share
    assert found.min() == 128 and (augmented(name, white, fill=7).min() == 7)


def test_operations_are_drawn_with_replacement_and_applied_with_prob(monkeypatch):
    done = []
    monkeypatch.setattr(
        ImageRandAugment, 'apply', lambda self, name, image: done.append(name) or image
    )
    transform, counts, names = ImageRandAugment(), [], []
    np.random.seed(0)
    for _ in range(2000):
        done.clear()
        transform(dict(img=pixels(4, 4)))
        counts.append(len(done))
        names += done
    assert np.bincount(counts) / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    shares = [names.count(name) / len(names) for name in transform.ops]
    assert len(shares) == 10 and shares == pytest.approx(10 * [0.1], abs=0.03)
    done.clear()
    ImageRandAugment(prob=1.0, ops=['Equalize'])(dict(img=pixels(4, 4)))
    assert done == ['Equalize', 'Equalize']


def test_pipeline_of_fine_tuning_keeps_size_and_type(image_file):
    pipeline = build(
        dict(
            type='EachView',
            transforms=[
                LOAD,
                dict(type='RandomResizedCrop', scale=24),
                dict(type='RandomFlip', prob=0.5),
                dict(type='ImageRandAugment'),
            ],
        ),
        dict(type='PackImageText'),
    )
    np.random.seed(0)
    images = [
        pipeline(dict(views=dict(image=dict(img_path=image_file)), text='x'))['inputs']['image']
        for _ in range(50)
    ]
    assert all(image.shape == (3, 24, 24) and image.dtype == torch.uint8 for image in images)
    assert len({image.sum().item() for image in images}) > 45


@pytest.mark.parametrize(
    'kwargs, error, message',
    [
        (dict(level=11), ValueError, 'level=11 must be between 0 and 10'),
        (dict(prob=-1), ValueError, 'prob=-1 between'),
        (
            dict(ops=['Cutout']),
            ValueError,
            "ops=.'Cutout',. must be some of Identity, AutoContrast",
        ),
        (dict(ops=[]), ValueError, 'must be some of'),
        (dict(num_op=2), TypeError, "Did you mean 'num_ops'"),
    ],
)
def test_faulty_augmentation(kwargs, error, message):
    with pytest.raises(error, match=message):
        ImageRandAugment(**kwargs)
