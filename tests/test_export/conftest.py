"""A tiny detector with every kind of part, exported once, and images of several shapes."""

import copy
import functools

import numpy as np
import pytest
import torch
from mmengine.config import Config

from image_text_model import model_files, scenes  # noqa: F401

for_export = functools.cache(
    lambda: [pytest.importorskip(name) for name in ('onnx', 'onnxscript', 'onnxruntime')]
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that need an exported model carry the marker."""
    for item in items:
        if {'exported_detector', 'exported_image_text'} & set(getattr(item, 'fixturenames', ())):
            item.add_marker('exporting')


@pytest.fixture(scope='session')
def detector_files(made_once, tiny_sizes):
    """The config of a tiny detector with deformable convolutions, and weights with open gates."""
    from pathlib import Path

    from fiber_mmdet.apis.loading import load_detector

    def make(folder):
        folder.mkdir()
        configs = Path(__file__).resolve().parents[2] / 'configs'
        cfg = Config.fromfile(configs / '_base_/models/fiber_swin-b.py')
        cfg.merge_from_dict(dict(model=copy.deepcopy(tiny_sizes)))
        cfg.model.backbone.image.update(position_side=8, always_shift=False)
        cfg.model.test_cfg = dict(
            score_thr=0.0,
            nms_pre=300,
            iou_threshold=0.6,
            max_per_img=50,
            exclusive_boxes=True,
            chunked_size=2,
        )
        cfg.test_pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='ShortSideResize', scale=(190, 100)),
            dict(type='PackDetInputs'),
        ]
        cfg.dump(folder / 'config.py')
        torch.manual_seed(3)
        model, *_ = load_detector(folder / 'config.py', 'random', 'cpu')
        for name, parameter in model.named_parameters():
            if 'gate' in name or name.endswith('token_bias'):
                torch.nn.init.normal_(parameter)
            elif parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.4 * parameter[0].numel() ** -0.5)
        torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')

    folder = made_once('detector-to-export', make)
    return folder / 'config.py', folder / 'weights.pth'


@pytest.fixture(scope='session')
def exported_detector(made_once, detector_files):
    """The folder of that detector, exported to both formats."""
    for_export()
    from fiber_mmdet.export import export_model

    return made_once('exported-detector', lambda folder: export_model(folder, *detector_files))


@pytest.fixture(scope='session')
def exported_image_text(made_once, model_files):  # noqa: F811
    """The folder of a tiny image-text model with all heads, exported to ONNX."""
    for_export()
    from fiber_mmdet.export import export_model

    answers = [f'answer {i}' for i in range(36)]
    return made_once(
        'exported-image-text',
        lambda folder: export_model(folder, *model_files, formats=['onnx'], answers=answers),
    )


@pytest.fixture(scope='session')
def photos():
    """Images of several shapes: noise in large blocks, (H, W, 3) uint8 RGB."""
    random = np.random.default_rng(0)

    def photo(height, width):
        blocks = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return np.kron(blocks, np.ones((-(-height // 6), -(-width // 6), 1), np.uint8))[
            :height, :width
        ]

    return [photo(120, 150), photo(230, 90), photo(64, 64)]
