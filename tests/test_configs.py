"""Every config loads, names only things that exist, and describes a model that can be built."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import (DATA_SAMPLERS, DATASETS, HOOKS, LOOPS, METRICS, MODELS,
                            OPTIM_WRAPPERS, PARAM_SCHEDULERS, TRANSFORMS, VISUALIZERS)
from mmengine.config import Config
from mmengine.registry import DefaultScope

import fiber_mmdet  # noqa: F401

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py')
               if '_base_' not in path.parts)
MODEL_FILES = sorted(path.name for path in (CONFIGS / '_base_/models').glob('*.py'))


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build_on_meta(cfg):
    """The model without memory for its weights."""
    with torch.device('meta'):
        return MODELS.build(cfg)


def count(module):
    return sum(p.numel() for p in module.parameters())


def parts(cfg):
    """(registry, config) of everything a config names."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            yield from datasets(loader.dataset)
            yield DATA_SAMPLERS, loader.sampler
            if loader.get('batch_sampler'):
                yield DATA_SAMPLERS, loader.batch_sampler
        if cfg.get(f'{split}_cfg') and 'type' in cfg[f'{split}_cfg']:
            yield LOOPS, cfg[f'{split}_cfg']
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            yield METRICS, evaluator
    if cfg.get('optim_wrapper'):
        yield OPTIM_WRAPPERS, cfg.optim_wrapper
    for scheduler in cfg.get('param_scheduler') or []:
        yield PARAM_SCHEDULERS, scheduler
    for hook in [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]:
        yield HOOKS, hook
    yield VISUALIZERS, cfg.visualizer


def datasets(cfg):
    yield DATASETS, cfg
    for transform in cfg.get('pipeline', []):
        yield TRANSFORMS, transform
    for inner in [*cfg.get('datasets', []), *([cfg.dataset] if 'dataset' in cfg else [])]:
        yield from datasets(inner)


def test_there_are_configs():
    assert len(FILES) > 5 and len(MODEL_FILES) > 3


@pytest.mark.parametrize('file', FILES)
def test_config(file):
    cfg = Config.fromfile(CONFIGS / file)
    assert cfg.custom_imports.imports == ['fiber_mmdet'] and cfg.default_scope == 'mmdet'
    named = list(parts(cfg))
    for registry, part in named:
        assert registry.get(part.type) is not None, part.type
    assert {registry.name for registry, _ in named} >= {'dataset', 'transform', 'metric', 'loop'}
    assert build_on_meta(cfg.model).tokenizer_cfg['max_tokens'] == 256
    assert Config.fromstring(cfg.pretty_text, '.py').model == cfg.model


@pytest.mark.parametrize('file', FILES)
def test_samples_carry_what_the_detector_and_the_metrics_read(file):
    needed = {'img_shape', 'ori_shape', 'scale_factor', 'text', 'custom_entities',
              'tokens_positive', 'caption_prompt'}
    for _, part in parts(Config.fromfile(CONFIGS / file)):
        if part.type == 'PackDetInputs':
            assert all(isinstance(key, str) for key in part.meta_keys), part.meta_keys
            assert needed <= set(part.meta_keys)


@pytest.mark.parametrize('file', FILES)
def test_metrics_read_the_truth_of_their_dataset(file):
    cfg = Config.fromfile(CONFIGS / file)
    for split in ('val', 'test'):
        evaluator, dataset = cfg[f'{split}_evaluator'], cfg[f'{split}_dataloader'].dataset
        if evaluator.get('ann_file'):
            assert evaluator.ann_file == dataset.data_root + dataset.ann_file


@pytest.mark.parametrize('file', MODEL_FILES)
def test_model(file):
    model = build_on_meta(Config.fromfile(CONFIGS / '_base_/models' / file).model)
    backbone = model.backbone
    assert len(backbone.image.schedule) - backbone.image_start == len(
        backbone.text.layers) - backbone.text_start


def test_parameters_of_the_published_layouts():
    """The reference's files hold 252 055 304 values, or 252 063 496 with the query norm.

    Of these 80 x 256 + 80 belong to a classifier that is never trained; five
    anchors of 4 numbers are buffers, which the manifests do not count.
    """
    names = ('fiber_swin-b.py', 'fiber_swin-b_i2t-norm.py')
    plain, normed = (build_on_meta(Config.fromfile(CONFIGS / '_base_/models' / name).model)
                     for name in names)
    assert count(plain) == 252_055_304 - 20_560
    assert count(normed) - count(plain) == 2 * (4 * 512 + 2 * 1024)
    # without index buffers, anchors and classifier; keys and values of the image's queries split
    assert len(list(plain.parameters())) == 806 - 25 - 5 - 2 + 6 * 2
    assert round(count(plain.neck) / 1e6, 2) == 3.41
    assert round((count(plain.bbox_head) + 20_560) / 1e6, 2) == 11.72


def test_fused_layers_of_the_sizes():
    def fused(name):
        backbone = build_on_meta(
            Config.fromfile(CONFIGS / f'_base_/models/{name}.py').model).backbone
        return backbone.image.schedule[backbone.image_start:], backbone.text_start

    assert fused('fiber_swin-b') == ([(2, 14), (2, 15), (2, 16), (2, 17), (3, 0), (3, 1)], 6)
    assert fused('fiber_swin-t') == ([(2, 4), (2, 5), (3, 0), (3, 1)], 2)
    assert fused('fiber_swin-t_roberta-base') == (
        [(2, 2), (2, 3), (2, 4), (2, 5), (3, 0), (3, 1)], 6)
