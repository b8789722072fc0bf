"""Every config loads, names only things that exist, and builds; models have the published sizes.

The recipes are in ``test_configs_detection.py`` and ``test_configs_image_text.py``.
"""

import pytest
from mmdet.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISUALIZERS,
)
from mmengine.config import Config
from mmengine.registry import EVALUATOR, DefaultScope

from config_files import CONFIGS, DETECTORS, FILES, IMAGE_TEXT, build_on_meta, count, load

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
MODEL_FILES = sorted(path.name for path in (CONFIGS / '_base_/models').glob('*.py'))


def named_parts(cfg):
    """(registry, config) of everything a config names."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            yield from datasets(loader.dataset)
            if loader.sampler is not None:  # shards have none
                yield DATA_SAMPLERS, loader.sampler
            if loader.get('batch_sampler'):
                yield DATA_SAMPLERS, loader.batch_sampler
        if cfg.get(f'{split}_cfg') and 'type' in cfg[f'{split}_cfg']:
            yield LOOPS, cfg[f'{split}_cfg']
        yield from evaluators(cfg.get(f'{split}_evaluator') or [])
    if cfg.get('optim_wrapper'):
        yield OPTIM_WRAPPERS, cfg.optim_wrapper
        if cfg.optim_wrapper.get('constructor'):
            yield OPTIM_WRAPPER_CONSTRUCTORS, Config(dict(type=cfg.optim_wrapper.constructor))
    for scheduler in cfg.get('param_scheduler') or []:
        yield PARAM_SCHEDULERS, scheduler
    for hook in [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]:
        yield HOOKS, hook
    yield VISUALIZERS, cfg.visualizer


def evaluators(cfg):
    for evaluator in cfg if isinstance(cfg, list) else [cfg]:
        if 'metrics' in evaluator:
            yield EVALUATOR, evaluator
            yield from ((METRICS, metric) for metric in evaluator.metrics)
        else:
            yield METRICS, evaluator


def datasets(cfg):
    yield DATASETS, cfg
    for transform in cfg.get('pipeline', []):
        yield TRANSFORMS, transform
        for inner in transform.get('transforms', []):
            yield TRANSFORMS, inner
    parts = cfg.get('datasets', [])
    parts = parts.values() if isinstance(parts, dict) else parts  # by task
    for inner in [*parts, *([cfg.dataset] if 'dataset' in cfg else [])]:
        yield from datasets(inner)


def test_there_are_configs():
    assert len(DETECTORS) > 30 and len(IMAGE_TEXT) > 15 and len(MODEL_FILES) > 8


@pytest.mark.parametrize('file', FILES)
def test_config(file):
    cfg = load(file)
    assert cfg.model.type == ('FIBERDetector' if file in DETECTORS else 'FIBERForVL')
    assert cfg.custom_imports.imports == ['fiber_mmdet'] and cfg.default_scope == 'mmdet'
    named = list(named_parts(cfg))
    with DefaultScope.overwrite_default_scope('mmdet'):
        for registry, part in named:
            assert registry.get(part.type) is not None, part.type
    tested = {'metric', 'loop'} if cfg.get('test_cfg') else set()
    assert {registry.name for registry, _ in named} >= {'dataset', 'transform', *tested}
    longest = 256 if file in DETECTORS else 40 if '-gcc' in file else 50
    assert build_on_meta(cfg.model).tokenizer_cfg['max_tokens'] == longest
    assert Config.fromstring(cfg.pretty_text, '.py').model == cfg.model


@pytest.mark.parametrize('file', MODEL_FILES)
def test_model(file):
    cfg = Config.fromfile(CONFIGS / '_base_/models' / file).model
    if cfg.type == 'FIBERForVL':  # whose heads are the configs'
        cfg.heads = dict(vqa=dict(type='VQAHead'))
    fusion = build_on_meta(cfg).backbone.fusion
    assert {step.block for step in fusion.steps} == fusion.text_readers
    assert [step.layer for step in fusion.steps] == [
        i for i, width in enumerate(fusion.image_dims) if width
    ]


def test_parameters_of_the_published_layouts():
    """The reference's files hold 252 055 304 values, or 252 063 496 with the query norm.

    Of these 80 x 256 + 80 belong to a classifier that is never trained; five
    anchors of 4 numbers are buffers, which the manifests do not count.
    """
    names = ('fiber_swin-b.py', 'fiber_swin-b_i2t-norm.py')
    plain, normed = (
        build_on_meta(Config.fromfile(CONFIGS / '_base_/models' / name).model) for name in names
    )
    assert count(plain) == 252_055_304 - 20_560
    assert count(normed) - count(plain) == 2 * (4 * 512 + 2 * 1024)
    # without index buffers, anchors and classifier; keys and values of the image's queries split
    assert len(list(plain.parameters())) == 806 - 25 - 5 - 2 + 6 * 2
    assert round(count(plain.neck) / 1e6, 2) == 3.41
    assert round((count(plain.bbox_head) + 20_560) / 1e6, 2) == 11.72


def test_fused_layers_of_the_sizes():
    def fused(name):
        model = build_on_meta(Config.fromfile(CONFIGS / f'_base_/models/{name}.py').model)
        steps = model.backbone.fusion.steps
        return [step.block for step in steps], steps[0].layer

    assert fused('fiber_swin-b') == ([(2, 14), (2, 15), (2, 16), (2, 17), (3, 0), (3, 1)], 6)
    assert fused('fiber_swin-t') == ([(2, 4), (2, 5), (3, 0), (3, 1)], 2)
    assert fused('fiber_swin-t_roberta-base') == (
        [(2, 2), (2, 3), (2, 4), (2, 5), (3, 0), (3, 1)],
        6,
    )


@pytest.mark.parametrize('file', FILES)
def test_nothing_is_lost_in_training(file):
    """Checkpoints are written whole, starts are chosen, and trainings that diverge stop."""
    cfg = load(file)
    hooks = {name: hook['type'] for name, hook in cfg.default_hooks.items()}
    assert hooks['checkpoint'] == 'WholeCheckpointHook'
    assert hooks['checkpoint_check'] == 'CheckpointCheckHook'
    assert hooks['training_check'] == 'TrainingCheckHook'


@pytest.mark.parametrize('file', FILES)
def test_rates_can_be_scaled_with_the_batch(file):
    """``--auto-scale-lr`` works for every training, from the batch that its rates are for."""
    cfg = load(file)
    if cfg.get('train_cfg') is None:
        return
    assert cfg.auto_scale_lr.enable is False and cfg.auto_scale_lr.base_batch_size > 0
    if 'mini' in str(file):  # trained by one process
        assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
