"""A tiny untrained detector as files on disk, an image-text model, and a few small images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from image_text_model import ask, model_files, packaged, scenes  # noqa: F401

CONFIG = """
custom_imports = dict(imports=['fiber_mmdet'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(
    type='FIBERDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False, pad_size_divisor=32),
    backbone=dict(
        type='FIBERBackbone',
        image=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), window=4),
        text=dict(num_layers=3, dim=32, num_heads=4, ffn_dim=64, vocab_size=1200,
                  max_positions=258),
        num_fused=2),
    neck=dict(type='FIBERFPN', in_channels=[32, 64, 128], out_channels=32),
    bbox_head=dict(type='GroundingHead', channels=32, text_dim=32, num_blocks=1),
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
    test_cfg=dict(score_thr=0.0, nms_pre=1000, iou_threshold=0.6, max_per_img=100))
meta_keys = ('img_path', 'ori_shape', 'img_shape', 'scale_factor', 'text', 'custom_entities',
             'tokens_positive', 'caption_prompt')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FixScaleResize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=meta_keys)]
test_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root='nowhere/', ann_file='none.json', return_classes=True,
    metainfo=dict(classes=('red circle', 'blue square', 'star')), pipeline=test_pipeline))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[], name='tiny')
"""


@pytest.fixture(scope='session')
def config_file(tmp_path_factory) -> Path:
    """The config of the tiny detector."""
    path = tmp_path_factory.mktemp('tiny') / 'tiny.py'
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope='session')
def weights_file(config_file) -> Path:
    """A checkpoint for it as mmengine saves them; its gates are open, so that words matter."""
    from fiber_mmdet.apis.loading import load_detector

    torch.manual_seed(3)
    model, *_ = load_detector(config_file, 'random', 'cpu')
    for name, parameter in model.named_parameters():
        if 'gate' in name or 'token_bias' == name.split('.')[-1]:
            torch.nn.init.normal_(parameter)
        elif 'token_proj' in name or 'box_conv' in name:
            torch.nn.init.normal_(parameter, std=0.3)
    path = config_file.with_name('tiny.pth')
    classes = ('red circle', 'blue square', 'star')
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), path
    )
    return path


@pytest.fixture(scope='session')
def find(config_file, weights_file):
    """The inferencer of the tiny detector."""
    from fiber_mmdet.apis import FIBERInferencer

    return FIBERInferencer(config_file, weights_file, device='cpu')


@pytest.fixture(scope='session')
def pixels() -> list[np.ndarray]:
    """Three RGB images of equal size, (60, 80, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    return [np.ascontiguousarray(image.repeat(10, 0).repeat(10, 1)) for image in coarse]


@pytest.fixture
def folder(pixels, tmp_path) -> Path:
    """They as c.png, b.png, a.png and beside them a text file and a subfolder."""
    from PIL import Image

    path = tmp_path / 'images'
    (path / 'more.png').mkdir(parents=True)
    for name, image in zip('cba', pixels):
        Image.fromarray(image).save(path / f'{name}.png')
    (path / 'notes.txt').write_text('not an image')
    return path
