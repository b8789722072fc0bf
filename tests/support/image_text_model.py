"""A tiny image-text model with all heads, as files on disk, and generated scenes for it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from fiber_mmdet.apis import ImageTextInferencer
from fiber_mmdet.apis.image_text_loading import load_image_text_model
from fiber_mmdet.weights.catalogue import IMAGE_TEXT, PACKAGED
from image_text_pairs import model_cfg

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/scenes'
HEADS = dict(
    vqa=dict(type='VQAHead', num_answers=36),
    nlvr2=dict(type='NLVR2Head'),
    caption=dict(type='CaptionHead', max_new_tokens=6, beam_size=2),
    itc=dict(type='ITCHead', queue_size=0),
    itm=dict(type='ITMHead'),
)


def make_config(root: Path, task: str = 'vqa', heads=tuple(HEADS)) -> Config:
    """The config of a task on scenes, for images of 64 pixels."""
    cfg = Config.fromfile(CONFIGS / f'fiber_mini_scenes_{task}.py')
    cfg.model = model_cfg({name: HEADS[name] for name in heads})
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{root}/'
        for step in dataset.pipeline[0].transforms:
            if step.type == 'Resize':
                step.scale = (64, 64)
    return cfg


@pytest.fixture(scope='session')
def scenes(tiny_scenes) -> list[Path]:
    """The six test scenes."""
    return sorted((tiny_scenes / 'images/test').glob('*.jpg'))


@pytest.fixture(scope='session')
def model_files(tiny_scenes, tmp_path_factory) -> tuple[Path, Path]:
    """The config of a model with all heads, and weights with open gates."""
    folder = tmp_path_factory.mktemp('image_text')
    make_config(tiny_scenes).dump(folder / 'config.py')
    torch.manual_seed(4)
    model, _, _ = load_image_text_model(folder / 'config.py', 'random', 'cpu')
    for name, parameter in model.named_parameters():
        if name.endswith('.gate'):
            torch.nn.init.normal_(parameter)
        elif parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return folder / 'config.py', folder / 'weights.pth'


@pytest.fixture(scope='session')
def ask(model_files) -> ImageTextInferencer:
    """An inferencer with that model."""
    return ImageTextInferencer(*model_files, device='cpu', batch_size=4)


@pytest.fixture
def packaged(model_files, monkeypatch) -> Path:
    """The folder of that model, which stands in for the packaged one."""
    monkeypatch.setitem(PACKAGED, IMAGE_TEXT, model_files[0].parent)
    return model_files[0].parent
