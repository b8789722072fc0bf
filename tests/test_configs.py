"""Every config loads, names only things that exist, and describes the paper's model and recipe.

Recipes of the image-text stage are in ``test_configs_image_text.py``.
"""

import re
from functools import cache
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISUALIZERS,
)
from mmengine.config import Config
from mmengine.registry import EVALUATOR, DefaultScope

import fiber_mmdet  # noqa: F401

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)
MODEL_FILES = sorted(path.name for path in (CONFIGS / '_base_/models').glob('*.py'))


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@cache
def load(file):
    return Config.fromfile(CONFIGS / file)


DETECTORS = [file for file in FILES if load(file).model.type == 'FIBERDetector']
IMAGE_TEXT = [file for file in FILES if load(file).model.type == 'FIBERForVL']


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
    for inner in [*cfg.get('datasets', []), *([cfg.dataset] if 'dataset' in cfg else [])]:
        yield from datasets(inner)


def test_there_are_configs():
    assert len(DETECTORS) > 30 and len(IMAGE_TEXT) > 15 and len(MODEL_FILES) > 8
    assert len(DETECTORS) + len(IMAGE_TEXT) == len(FILES)


@pytest.fixture
def plain_layout(monkeypatch):
    """Texts of configs are not laid out by yapf, which takes seconds for a large one."""
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))


@pytest.mark.parametrize('file', FILES)
def test_config(file, plain_layout):
    cfg = load(file)
    assert cfg.custom_imports.imports == ['fiber_mmdet'] and cfg.default_scope == 'mmdet'
    named = list(parts(cfg))
    for registry, part in named:
        assert registry.get(part.type) is not None, part.type
    assert {registry.name for registry, _ in named} >= {'dataset', 'transform', 'metric', 'loop'}
    longest = 256 if file in DETECTORS else 40 if '-gcc' in file else 50
    assert build_on_meta(cfg.model).tokenizer_cfg['max_tokens'] == longest
    assert Config.fromstring(cfg.pretty_text, '.py').model == cfg.model


@pytest.mark.parametrize('file', DETECTORS)
def test_samples_carry_what_the_detector_and_the_metrics_read(file):
    needed = {
        'img_shape',
        'ori_shape',
        'scale_factor',
        'text',
        'custom_entities',
        'tokens_positive',
        'caption_prompt',
    }
    for _, part in parts(load(file)):
        if part.type == 'PackDetInputs':
            assert all(isinstance(key, str) for key in part.meta_keys), part.meta_keys
            assert needed <= set(part.meta_keys)


@pytest.mark.parametrize('file', DETECTORS)
def test_metrics_read_the_truth_of_their_dataset(file):
    cfg = load(file)
    for split in ('val', 'test'):
        if f'{split}_dataloader' not in cfg:
            assert split == 'val' and 'train_dataloader' not in cfg
            continue
        evaluator, dataset = cfg[f'{split}_evaluator'], cfg[f'{split}_dataloader'].dataset
        if isinstance(evaluator, list):
            evaluator = evaluator[0]  # the others score parts, or by another rule
        metrics, parts_of = (
            evaluator.get('metrics', [evaluator]),
            dataset.get('datasets', [dataset]),
        )
        assert len(metrics) == len(parts_of) == len(evaluator.get('dataset_prefixes', metrics))
        for metric, part in zip(metrics, parts_of):
            assert part.test_mode
            if metric.get('ann_file'):
                assert metric.ann_file == part.data_root + part.ann_file


# ------------------------------------------------------------------ recipes
# folder: score threshold, boxes per level, per image, names per pass, edges exclusive
THRESHOLDS = dict(
    pretrain=(0.05, 1000, 100, -1, True),
    coco=(0.05, 1000, 100, -1, True),
    coco_o=(0.05, 1000, 100, -1, True),
    custom=(0.05, 1000, 100, -1, True),
    odinw=(0.05, 1000, 100, -1, True),
    d3=(0.05, 1000, 100, 1, True),
    lvis=(0.05, 1000, 300, 40, False),
    flickr30k=(0.05, 1000, 100, -1, False),
    refcoco=(0.0, 3000, 100, -1, False),
)
# folder: frozen stages, recomputed activations, chance of mirroring
TRAINING = dict(
    pretrain=(1, False, 0.5),
    odinw=(1, False, 0.5),
    custom=(1, False, 0.5),
    coco=(-1, True, 0.5),
    lvis=(-1, True, 0.5),
    refcoco=(-1, True, None),
)
OWN = [file for file in DETECTORS if 'fiber_mini' not in file]


@pytest.mark.parametrize('file', OWN)
def test_thresholds(file):
    test_cfg = load(file).model.test_cfg
    score, per_level, per_image, chunk, exclusive = THRESHOLDS[file.split('/')[0]]
    assert (test_cfg.score_thr, test_cfg.nms_pre, test_cfg.max_per_img) == (
        score,
        per_level,
        per_image,
    )
    assert test_cfg.iou_threshold == 0.6
    assert test_cfg.get('chunked_size', -1) == chunk
    assert test_cfg.get('exclusive_boxes', False) == exclusive


@pytest.mark.parametrize('file', OWN)
def test_training(file):
    cfg = load(file)
    if 'zeroshot' in file:
        assert 'train_dataloader' not in cfg
        return
    frozen, recomputed, mirrored = TRAINING[file.split('/')[0]]
    backbone = cfg.model.backbone
    if cfg.model.get('trainable') is None:
        assert backbone.get('frozen_stages', -1) == frozen
    assert backbone.get('with_cp', False) == recomputed
    flips = [
        part for _, part in datasets(cfg.train_dataloader.dataset) if part.type == 'CaptionFlip'
    ]
    assert [flip.prob for flip in flips] == ([mirrored] * len(flips) if mirrored else [])
    assert bool(flips) == bool(mirrored) and not any(flip.get('swap_words') for flip in flips)
    gpus, batch = map(int, re.search(r'_(\d+)xb(\d+)-', file).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch


@pytest.mark.parametrize('file', OWN)
def test_images_are_read_alike(file):
    for _, part in parts(load(file)):
        if part.type == 'LoadImageFromFile':
            assert part.imdecode_backend == 'pillow'
            assert part.color_type == 'color_ignore_orientation'
        elif part.type == 'RandomChoiceResize':
            assert part.resize_type == 'ShortSideResize'
            assert part.scales == [(1333, side) for side in (480, 560, 640, 720, 800)]
        elif part.type == 'ShortSideResize':
            assert part.scale == (1333, 800)


def test_pretraining_for_referring_expressions_differs_in_two_things():
    name = 'pretrain/fiber_swin-b_{}64xb1-800k_flickr-mixed-o365.py'
    plain, normed = (Config.fromfile(CONFIGS / name.format(layout)) for layout in ('', 'i2t-norm_'))
    assert normed.model.backbone.pop('i2t_norm') and not plain.model.backbone.pop('i2t_norm')
    assert (plain.param_scheduler[0].pop('end'), normed.param_scheduler[0].pop('end')) == (
        2001,
        5001,
    )
    assert plain.to_dict() == normed.to_dict()


# ------------------------------------------------------------------ ODinW
ODINW = 'odinw/fiber_swin-b_4xb1-plateau_odinw.py'


def mmdet_sets(number):
    """Folder, annotations and images of each dataset in MMDetection's own config."""
    name = f'mm_grounding_dino/odinw/grounding_dino_swin-t_pretrain_odinw{number}.py'
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / name)
    return {
        (part.data_root, part.ann_file.replace('new_', ''), part.data_prefix.img): set(
            part.metainfo.classes
        )
        for part in cfg.val_dataloader.dataset.datasets
    }


@pytest.mark.parametrize('number', [13, 35])
def test_odinw_sets_are_those_of_mmdet(number, monkeypatch):
    monkeypatch.setenv('ODINW_PROMPTS', 'all')
    cfg = Config.fromfile(CONFIGS / f'odinw/fiber_swin-b_zeroshot_odinw{number}.py')
    parts_of = cfg.test_dataloader.dataset.datasets
    ours = {
        (part.data_root, part.ann_file.replace('new_', ''), part.data_prefix.img): part
        for part in parts_of
    }
    theirs = mmdet_sets(number)
    assert len(parts_of) == number and ours.keys() == theirs.keys()
    for key, part in ours.items():
        worded = [around.get('name', name) for name, around in (part.caption_prompt or {}).items()]
        # theirs renames categories in the file; the blank name is no category
        assert set(part.metainfo.classes) == theirs[key] - {'  '} or set(worded) == theirs[key], (
            part.data_root
        )


@pytest.mark.parametrize(
    'split, file',
    [
        ('test', 'test/annotations_without_background.json'),
        ('valid', 'valid/annotations_without_background.json'),
    ],
)
def test_odinw_split(split, file, monkeypatch):
    monkeypatch.setenv('ODINW_SPLIT', split)
    cfg = Config.fromfile(CONFIGS / 'odinw/fiber_swin-b_zeroshot_odinw13.py')
    files = dict(
        zip(
            cfg.test_evaluator.dataset_prefixes,
            (part.ann_file for part in cfg.test_dataloader.dataset.datasets),
        )
    )
    assert files['Aquarium'] == files['Raccoon'] == file
    assert files['PascalVOC'] == 'valid/annotations_without_background.json'
    assert (
        files['pistols']
        == f'{dict(valid="val").get(split, split)}_annotations_without_background.json'
    )


@pytest.mark.parametrize('shots, times', [('0', 1), ('1', 8), ('3', 4), ('5', 2), ('10', 1)])
def test_odinw_shots(shots, times, monkeypatch):
    for key, value in (('SET', 'thermalDogsAndPeople'), ('SHOTS', shots), ('SEED', '30')):
        monkeypatch.setenv(f'ODINW_{key}', value)
    cfg = Config.fromfile(CONFIGS / ODINW)
    repeated = cfg.train_dataloader.dataset
    train = repeated.dataset
    assert repeated.times == times and cfg.randomness.seed == 30
    assert train.ann_file == 'train/annotations_without_background.json'
    assert (train.get('shots', 0), train.get('shot_seed')) == (
        int(shots),
        30 if int(shots) else None,
    )
    assert cfg.val_dataloader.dataset.ann_file == 'valid/annotations_without_background.json'
    assert cfg.test_dataloader.dataset.ann_file == 'test/annotations_without_background.json'
    assert train.data_root == 'data/odinw/thermalDogsAndPeople/'
    assert not cfg.get('odinw_sets')


def test_odinw_defaults():
    cfg = Config.fromfile(CONFIGS / ODINW)
    assert cfg.odinw_set == 'Aquarium' and cfg.randomness.seed == 0
    train = cfg.train_dataloader.dataset.dataset
    assert 'shots' not in train and train.caption_prompt.puffin == dict(suffix=' with orange beaks')
    assert train.caption_prompt.fish == dict(prefix=' ')
    (resize,) = (step for step in train.pipeline if step.type == 'RandomChoiceResize')
    assert len(resize.scales) == 5


@pytest.mark.parametrize(
    'choice, words',
    [('reference', None), ('none', None), ('all', dict(hand=dict(suffix=' of a person')))],
)
def test_odinw_prompts(monkeypatch, choice, words):
    monkeypatch.setenv('ODINW_PROMPTS', choice)
    monkeypatch.setenv('ODINW_SET', 'EgoHands_generic')
    assert Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset.caption_prompt == words


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(SHOTS='1.5'), 'ODINW_SHOTS=1.5: a number of images'),
        (dict(PUBLISHED_SHOTS='True'), 'ODINW_PUBLISHED_SHOTS=True needs ODINW_SHOTS'),
    ],
)
def test_odinw_choices_that_make_no_sense(monkeypatch, values, message):
    for key, value in values.items():
        monkeypatch.setenv(f'ODINW_{key}', value)
    with pytest.raises(AssertionError, match=message):
        Config.fromfile(CONFIGS / ODINW)


def test_unknown_odinw_split(monkeypatch):
    monkeypatch.setenv('ODINW_SPLIT', 'tst')
    with pytest.raises(AssertionError, match='ODINW_SPLIT=tst: train, valid or test'):
        Config.fromfile(CONFIGS / 'odinw/fiber_swin-b_zeroshot_odinw13.py')


def test_unknown_odinw_prompts(monkeypatch):
    monkeypatch.setenv('ODINW_PROMPTS', 'False')
    with pytest.raises(AssertionError, match='ODINW_PROMPTS=False: reference, all or none'):
        Config.fromfile(CONFIGS / ODINW)


def test_odinw_published_shots_and_plain_names(monkeypatch):
    for key, value in (
        ('SET', 'pistols'),
        ('SHOTS', '3'),
        ('SEED', '300'),
        ('PUBLISHED_SHOTS', 'True'),
        ('PROMPTS', 'none'),
    ):
        monkeypatch.setenv(f'ODINW_{key}', value)
    train = Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset
    assert train.ann_file == 'fewshot_train_shot3_seed300.json' and 'shots' not in train
    monkeypatch.setenv('ODINW_SET', 'pothole')
    train = Config.fromfile(CONFIGS / ODINW).train_dataloader.dataset.dataset
    assert (
        train.ann_file == 'train/fewshot_train_shot3_seed300.json' and train.caption_prompt is None
    )


def test_unknown_odinw_set(monkeypatch):
    monkeypatch.setenv('ODINW_SET', 'aquarium')
    with pytest.raises(AssertionError, match="ODINW_SET=aquarium: it is one of .*'Aquarium'"):
        Config.fromfile(CONFIGS / ODINW)


# ------------------------------------------------------------------ models
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
