"""Configs of detectors describe the paper's recipes; their datasets and metrics fit together."""

import re
from typing import NamedTuple

import pytest
from mmengine.config import Config

from config_files import CONFIGS, DETECTORS, build_on_meta, load, parts


class Recipe(NamedTuple):
    """What the configs of a folder have in common."""

    score_thr: float
    nms_pre: int  # boxes per level
    max_per_img: int
    names: int  # per pass; -1: all
    exclusive: bool  # edges of boxes
    frozen_stages: int | None = None  # None: not trained
    recomputed: bool = False  # activations
    mirrored: float | None = None  # chance


RECIPES = dict(
    pretrain=Recipe(0.05, 1000, 100, -1, True, 1, False, 0.5),
    coco=Recipe(0.05, 1000, 100, -1, True, -1, True, 0.5),
    coco_o=Recipe(0.05, 1000, 100, -1, True),
    custom=Recipe(0.05, 1000, 100, -1, True, 1, False, 0.5),
    odinw=Recipe(0.05, 1000, 100, -1, True, 1, False, 0.5),
    d3=Recipe(0.05, 1000, 100, 1, True),
    omnilabel=Recipe(0.05, 1000, 100, -1, True),
    lvis=Recipe(0.05, 1000, 300, 40, False, -1, True, 0.5),
    flickr30k=Recipe(0.05, 1000, 100, -1, False),
    refcoco=Recipe(0.0, 3000, 100, -1, False, -1, True, None),
)
NEEDED = {
    'img_shape',
    'ori_shape',
    'scale_factor',
    'text',
    'custom_entities',
    'tokens_positive',
    'caption_prompt',
}
STAGE1 = 'scenes/fiber_mini_scenes_pretrain.py'


@pytest.mark.parametrize('file', DETECTORS)
def test_samples_and_metrics(file):
    """Samples carry what the detector and the metrics read; metrics read the dataset's truth."""
    cfg = load(file)
    for part in parts(cfg):
        if part['type'] == 'PackDetInputs':
            assert all(isinstance(key, str) for key in part.meta_keys), part.meta_keys
            assert NEEDED <= set(part.meta_keys)
    for split in ('val', 'test'):
        if f'{split}_dataloader' not in cfg:
            assert split == 'val' and 'train_dataloader' not in cfg
            continue
        evaluator, dataset = cfg[f'{split}_evaluator'], cfg[f'{split}_dataloader'].dataset
        if isinstance(evaluator, list):
            evaluator = evaluator[0]  # the others score parts, or by another rule
        metrics = evaluator.get('metrics', [evaluator])
        datasets = dataset.get('datasets', [dataset])
        assert len(metrics) == len(datasets) == len(evaluator.get('dataset_prefixes', metrics))
        for metric, part in zip(metrics, datasets):
            assert part.test_mode
            if metric.get('ann_file'):
                assert metric.ann_file == part.data_root + part.ann_file


@pytest.mark.parametrize('file', [file for file in DETECTORS if 'fiber_mini' not in file])
def test_recipe(file):
    cfg, recipe = load(file), RECIPES[file.split('/')[0]]
    if 'descriptions_zeroshot' in file:
        recipe = recipe._replace(names=8)
    test_cfg = cfg.model.test_cfg
    found = (
        test_cfg.score_thr,
        test_cfg.nms_pre,
        test_cfg.max_per_img,
        test_cfg.get('chunked_size', -1),
        test_cfg.get('exclusive_boxes', False),
    )
    assert found == recipe[:5] and test_cfg.iou_threshold == 0.6
    for part in parts(cfg):
        if part['type'] == 'LoadImageFromFile':
            assert part.imdecode_backend == 'pillow'
            assert part.color_type == 'color_ignore_orientation'
        elif part['type'] == 'RandomChoiceResize':
            assert part.resize_type == 'ShortSideResize'
            assert part.scales == [(1333, side) for side in (480, 560, 640, 720, 800)]
        elif part['type'] == 'ShortSideResize':
            assert part.scale == (1333, 800)
    if 'zeroshot' in file:
        assert 'train_dataloader' not in cfg
        return
    backbone = cfg.model.backbone
    if cfg.model.get('trainable') is None:
        assert backbone.get('frozen_stages', -1) == recipe.frozen_stages
    assert backbone.get('with_cp', False) == recipe.recomputed
    flips = [part for part in parts(cfg.train_dataloader) if part['type'] == 'CaptionFlip']
    assert bool(flips) == bool(recipe.mirrored)
    assert all(flip.prob == recipe.mirrored and not flip.get('swap_words') for flip in flips)
    gpus, batch = map(int, re.search(r'_(\d+)xb(\d+)-', file).groups())
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch


def test_pretraining_for_referring_expressions_differs_in_two_things():
    name = 'pretrain/fiber_swin-b_{}64xb1-800k_flickr-mixed-o365.py'
    plain, normed = (Config.fromfile(CONFIGS / name.format(layout)) for layout in ('', 'i2t-norm_'))
    assert normed.model.backbone.pop('i2t_norm') and not plain.model.backbone.pop('i2t_norm')
    assert (plain.param_scheduler[0].pop('end'), normed.param_scheduler[0].pop('end')) == (
        2001,
        5001,
    )
    assert plain.to_dict() == normed.to_dict()


def test_descriptions_of_lvis_are_worded_for_the_prompts_of_the_model():
    cfg = load('lvis/fiber_swin-b_descriptions_zeroshot_lvis-val.py')
    dataset = cfg.test_dataloader.dataset
    assert dataset.names_per_prompt == cfg.model.test_cfg.chunked_size
    assert dataset.tokenizer == cfg.model.tokenizer
    assert dataset.ann_file == 'annotations/lvis_v1_val.json'


def test_training_on_descriptions_is_descos():
    """Rates, drops and mixture of its published configuration; nothing leaves out empty images."""
    cfg = load('pretrain/fiber_swin-b_16xb1-200k_descriptions.py')
    wrapper, length = cfg.optim_wrapper, cfg.train_cfg.max_iters
    assert (wrapper.optimizer.lr, wrapper.paramwise_cfg.text_lr, length) == (2e-5, 1e-5, 200_000)
    warmup, rate, decay = cfg.param_scheduler
    assert warmup.end == 2001 and rate.milestones == [0.67 * length, 0.89 * length]
    assert decay.milestones == [round(0.667 * step) for step in rate.milestones]
    kinds = {}
    for part in cfg.train_dataloader.dataset.datasets:
        assert part.times == 2 and not part.dataset.filter_cfg.filter_empty_gt
        steps = {step.type: step for step in part.dataset.pipeline}
        assert ('DescribeCaptions' in steps) == part.dataset.get('with_descriptions', False)
        kinds.update(steps)
    assert kinds['DescribeCaptions'].ratios == dict(statements=0.8)
    categories = kinds['DescribeCategories']
    assert (categories.prob, categories.size) == (0.7, 8)
    assert categories.plain == dict(max_negatives=85, full_prob=0.5)
    for step in (categories, kinds['DescribeCaptions']):
        assert step.tokenizer == cfg.model.tokenizer


@pytest.mark.parametrize('start', ['', '_towers', '_stage1', '_grounding'])
def test_detectors_of_the_claims_have_the_backbone_of_the_image_text_stage(start):
    """All of it is handed over but the norms of the pyramid, and works in the same way."""
    cfg, stage1 = load(f'scenes/fiber_mini_scenes_short{start}.py'), load(STAGE1)
    detector, image_text = cfg.model.backbone, stage1.model.backbone
    assert detector.image == image_text.image and detector.text == image_text.text
    shapes = [
        {
            key: value.shape
            for key, value in build_on_meta(model).backbone.state_dict().items()
            if not key.startswith('image.out_norms.')
        }
        for model in (cfg.model, stage1.model)
    ]
    assert shapes[0] == shapes[1]
    for key in ('mean', 'std', 'bgr_to_rgb'):
        assert cfg.model.data_preprocessor[key] == stage1.model.data_preprocessor[key]
    pretrained = detector.get('pretrained') or {}
    assert pretrained.get('swap_rgb') is None  # both read BGR
    last = stage1.train_cfg.max_iters
    if start == '_stage1':
        assert pretrained.coarse == f'work_dirs/fiber_mini_scenes_pretrain/iter_{last}.pth'
    elif start == '_towers':
        assert pretrained.towers == stage1.load_from
    else:
        assert not pretrained
