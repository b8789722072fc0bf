"""Normalisation of image-text batches."""

import pytest
import torch
from mmengine.dataset import pseudo_collate

from fiber_mmdet.models.image_text import ImageTextPreprocessor
from fiber_mmdet.structures import ImageTextSample

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def item(size=(8, 8), **views):
    views = views or dict(image=size)
    return dict(
        inputs={
            name: torch.randint(256, (3, *shape), dtype=torch.uint8)
            for name, shape in views.items()
        },
        data_samples=ImageTextSample(metainfo=dict(text='a', img_path='a.jpg')),
    )


@pytest.mark.parametrize('stacked', [False, True])
def test_views_are_normalised_and_stacked(stacked):
    torch.manual_seed(0)
    batch = pseudo_collate([item(image=(8, 8), image_1=(8, 8)) for _ in range(3)])
    raw = {name: torch.stack(images) for name, images in batch['inputs'].items()}
    if stacked:
        batch['inputs'] = raw
    found = ImageTextPreprocessor(MEAN, STD, bgr_to_rgb=True)(batch, training=True)
    assert set(found['inputs']) == {'image', 'image_1'}
    for name, images in found['inputs'].items():
        want = (
            raw[name].flip(1) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        ) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        torch.testing.assert_close(images, want, rtol=1e-4, atol=1e-5)
    assert found['data_samples'] is batch['data_samples']


def test_without_normalisation_and_samples():
    images = torch.rand(2, 3, 8, 8)
    found = ImageTextPreprocessor()(dict(inputs=dict(image=images)))
    assert torch.equal(found['inputs']['image'], images) and found['data_samples'] is None


@pytest.mark.parametrize(
    'items, message',
    [
        ([item((8, 10))], r"view 'image' number 0 of a batch \(a\.jpg\) is 10 x 8 pixels"),
        (
            [item((8, 8)), item((9, 9))],
            'number 1 of a batch .* is 9 x 9 pixels, the batch began with 8',
        ),
        (
            [item(image=(8, 8), image_1=(16, 16))],
            "view 'image_1' number 0 .* squares of one size. End Ea",
        ),
    ],
)
def test_images_of_different_sizes_are_refused(items, message):
    with pytest.raises(ValueError, match=message):
        ImageTextPreprocessor(MEAN, STD)(pseudo_collate(items))


def test_misspelt_arguments():
    with pytest.raises(TypeError, match="'bgr_to_rbg'. Did you mean 'bgr_to_rgb'"):
        ImageTextPreprocessor(MEAN, STD, bgr_to_rbg=True)
