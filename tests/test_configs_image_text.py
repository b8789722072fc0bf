"""Configs of the image-text stage describe the paper's models and recipes (section 5.3)."""

import re
from typing import NamedTuple

import pytest
from mmengine.config import Config, DictAction

from config_files import CONFIGS, FILES, IMAGE_TEXT, build_on_meta, count, load, parts

pytestmark = pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
LARGE = [file for file in IMAGE_TEXT if 'fiber_mini' not in file]
PAPER = [file for file in LARGE if 'swin-b' in file]


class Recipe(NamedTuple):
    """What the configs of a task have in common."""

    batch: int  # pairs between two updates
    length: int  # epochs, or iterations if more than 1000
    lr: float
    heads: int  # factor of their learning rate
    side: int  # of images, FIBER-B
    augmented: bool


RECIPES = {
    'image_text_pretrain/': Recipe(4096, 100_000, 1e-5, 5, 384, False),
    'vqa/': Recipe(512, 10, 2e-5, 50, 576, True),
    'nlvr2/': Recipe(256, 5, 2e-5, 50, 384, True),
    'retrieval/.*_itc_': Recipe(1024, 10, 2e-5, 5, 576, True),
    'retrieval/.*_itm_': Recipe(1024, 10, 2e-5, 5, 384, True),
    'retrieval/.*_itc-itm_': Recipe(1024, 10, 2e-5, 5, 576, True),  # not in the paper
    'captioning/.*_mle_': Recipe(512, 10, 5e-5, 5, 576, True),
    'captioning/.*_gold_': Recipe(512, 10, 1e-5, 5, 576, True),
    'captioning/.*_cider_': Recipe(512, 10, 1e-6, 5, 576, True),
}
SMALLER = {384: 224, 576: 384}  # FIBER-T


def recipe_of(file):
    return next(recipe for pattern, recipe in RECIPES.items() if re.match(pattern, file))


def transforms(loader):
    """Every transform of a loader's datasets, including those of single views."""
    dataset = loader.dataset
    parts = dataset.get('datasets')
    for part in parts if isinstance(parts, list) else [dataset]:  # tasks share a pipeline
        for step in part.pipeline:
            yield step
            yield from step.get('transforms', [])


@pytest.mark.parametrize('pattern', [key for key in RECIPES if 'itc-itm' not in key])
@pytest.mark.parametrize('size', ['swin-b', 'swin-t'])
def test_each_task_of_the_paper_has_its_config(pattern, size):
    assert any(re.match(pattern, file) for file in LARGE if size in file)


@pytest.mark.parametrize('file', LARGE)
def test_recipe(file):
    cfg, recipe = load(file), recipe_of(file)
    gpus, each = map(int, re.search(r'_(\d+)xb(\d+)-', file).groups())
    steps = cfg.optim_wrapper.accumulative_counts
    assert cfg.train_dataloader.batch_size == each and cfg.train_dataloader.drop_last
    assert gpus * each * steps == recipe.batch
    # mmengine does not count accumulated batches when it scales
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=gpus * each)
    if recipe.length > 1000:
        assert cfg.train_cfg.max_iters == recipe.length * steps
        assert cfg.default_hooks.checkpoint.interval % steps == 0
        assert cfg.train_cfg.val_interval % steps == 0
    else:
        assert cfg.train_cfg.max_epochs == recipe.length and f'-{recipe.length}e_' in file
    wrapper = cfg.optim_wrapper
    assert wrapper.type == 'OptimWrapper' and 'clip_grad' not in wrapper
    assert wrapper.optimizer == dict(
        type='AdamW', lr=recipe.lr, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.01
    )
    assert wrapper.constructor == 'ImageTextOptimWrapperConstructor'
    # gates and temperature decay where the paper is reproduced
    assert wrapper.paramwise_cfg == dict(
        lr_mult_head=recipe.heads, lr_mult_cross_modal=5, legacy_decay=file in PAPER
    )
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.type, scheduler.warmup) == ('WarmupDecayLR', 0.1)
    assert scheduler.by_epoch == scheduler.get('convert_to_iter_based', False)
    assert scheduler.by_epoch == (recipe.length < 1000)
    # only training from scratch starts from public towers
    pretrained = cfg.model.backbone.get('pretrained')
    assert bool(pretrained) == ('pretrain/' in file)
    if pretrained:
        assert ('swin_base_patch4_window12_384_22k' in pretrained.image) == (file in PAPER)
    # weights are not chosen on the test split
    val, test = (
        str(dataset.get('splits', dataset.get('ann_files', dataset.get('question_files'))))
        for dataset in (cfg.val_dataloader.dataset, cfg.test_dataloader.dataset)
    )
    assert 'test' not in val and ('vqav2' in file or val != test)


@pytest.mark.parametrize('file', IMAGE_TEXT)
def test_images_and_model(file):
    cfg = load(file)
    loaders = [cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
    image = cfg.model.backbone.image
    if 'fiber_mini' in file:
        side, augmented = 32 * image.window, False
    else:
        side, augmented = recipe_of(file)[-2:]
        side = side if file in PAPER else SMALLER[side]
    assert side == 32 * image.window and not image.always_shift
    for loader, training in zip(loaders, (True, False, False)):
        if loader is None:  # the towers of FIBER-mini are trained without validation
            assert '_towers_' in file and not training
            continue
        found = [step.type for step in transforms(loader)]
        for step in transforms(loader):
            if step.type == 'LoadImageFromFile':
                assert step.imdecode_backend == 'pillow'
                assert step.color_type == 'color_ignore_orientation'
                # only training may replace an image
                assert training or not step.get('ignore_empty')
            elif step.type == 'Resize':
                assert (step.interpolation, step.backend) == ('bicubic', 'pillow')
                assert step.scale == (side, side) and not step.keep_ratio
            elif step.type == 'RandomResizedCrop':
                assert step.scale == side and step.area == (0.5, 1.0)
            elif step.type == 'ImageRandAugment':
                assert (step.num_ops, step.level) == (2, 7)
        if augmented and training:
            assert found == [
                'EachView',
                'LoadImageFromFile',
                'RandomResizedCrop',
                'RandomFlip',
                'ImageRandAugment',
                'PackImageText',
            ]
        elif 'fiber_mini' not in file:
            sets = len(loader.dataset.get('datasets', [0]))
            assert found == sets * ['EachView', 'LoadImageFromFile', 'Resize', 'PackImageText']

    backbone = cfg.model.backbone
    assert not backbone.last_text_norm and not backbone.out_indices
    assert backbone.i2t_norm
    # mmdet's draws boxes
    assert 'visualization' not in cfg.default_hooks and cfg.visualizer.type == 'Visualizer'
    assert {'checkpoint_check', 'contrast_queue', 'randomness'} <= set(cfg.default_hooks)
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel', find_unused_parameters=True, broadcast_buffers=False
    )
    preprocessor = cfg.model.data_preprocessor
    # means in the order in which colours are read; FIBER-mini reads them as the detector does
    assert preprocessor.bgr_to_rgb == (preprocessor.mean[0] > preprocessor.mean[2])
    assert preprocessor.bgr_to_rgb or 'fiber_mini' in file


@pytest.mark.parametrize('file', LARGE)
def test_quirks_of_the_reference_only_where_the_paper_is_reproduced(file):
    cfg, paper = load(file), file in PAPER
    # false images are for plain matching alone
    assert cfg.train_dataloader.dataset.get('false_image', False) == ('_itm_' in file)
    for head in cfg.model.heads.values():
        if head.type == 'ITCHead':
            assert head.get('legacy_queue', False) == paper
            assert head.get('same_image_guard', True) == (not paper)
            assert head.get('pixel_queue', 0) == (4096 if 'pretrain/' in file else 0)
        elif head.type == 'ITMHead':
            assert head.get('score', 'log_odds') == ('logit' if paper else 'log_odds')
            assert head.get('negatives', 'hard') == ('view' if '_itm_' in file else 'hard')
        elif head.type == 'CaptionHead':
            assert head.get('legacy_beam', False) == paper
            objective = dict(head.get('objective', dict(type='MLELoss')))
            if objective['type'] == 'GoldLoss':
                reference = dict(refresh_every=1000, min_weight=0.1, legacy_denominator=True)
                assert objective == dict(type='GoldLoss', **(reference if paper else {}))
            elif objective['type'] == 'CiderLoss':
                reference = dict(samples=5, mle_weight=0.3, baseline=1.0, legacy=True)
                del objective['df_file']
                assert objective == dict(type='CiderLoss', **(reference if paper else {}))
            else:
                assert objective == dict(type='MLELoss')


def test_parameters_of_the_published_model():
    """The reference's pre-training model has 281 897 191, some of which it never uses."""
    model = build_on_meta(load(next(file for file in PAPER if 'pretrain' in file)).model)
    ranking, text_pooler, gates = 1536 + 1, 768 * 768 + 768, 6
    norms_of_cross_attention = 6 * 2 * 768
    unused = ranking + text_pooler + gates + norms_of_cross_attention
    assert count(model) + unused == 281_897_191


def test_the_papers_splits_by_option():
    """As the comment in the data config says."""
    text = (CONFIGS / '_base_/datasets/coco_captions.py').read_text()
    options = dict(re.findall(r'(\w+_dataloader\.dataset\.splits)="(\(.+?\))"', text))
    cfg = Config.fromfile(CONFIGS / 'captioning/fiber_swin-b_mle_8xb8-10e_coco.py')
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in options.items()})
    assert cfg.train_dataloader.dataset.splits == ('train', 'val')
    assert cfg.val_dataloader.dataset.splits == cfg.test_dataloader.dataset.splits == ('test',)


def test_splits_of_pretraining_by_option():
    """As the comment in the data config says."""
    text = (CONFIGS / '_base_/datasets/pretrain_image_text.py').read_text()
    cfg = Config.fromfile(
        CONFIGS / 'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py'
    )
    (splits,) = re.findall(r'(train_dataloader\.[\w.]+splits)=', text)
    (left_out,) = re.findall(r'([\w.]+exclude_ids)=', text)
    cfg.merge_from_dict({splits: ('train', 'val'), left_out: 'ids.txt'})
    coco, genome = cfg.train_dataloader.dataset.datasets[:2]
    assert coco.splits == ('train', 'val') and coco.type == 'KarpathyCaptionDataset'
    assert genome.exclude_ids == 'ids.txt' and genome.type == 'RegionPhraseDataset'


def test_named_parts_exist():
    kinds = {part['type'] for file in IMAGE_TEXT for part in parts(load(file))}
    assert kinds >= {
        'KarpathyCaptionDataset',
        'RegionPhraseDataset',
        'WebCaptionDataset',
        'VQAv2Dataset',
        'NLVR2Dataset',
        'RetrievalRecall',
        'CaptionMetric',
        'VQAScore',
        'NLVR2Accuracy',
        'PretrainingAccuracy',
        'RetrievalValLoop',
        'WarmupDecayLR',
    }


def test_a_start_is_the_end_of_the_training_before():
    starts = [
        start
        for file in FILES
        for start in re.findall(r"'work_dirs/(\w+)/(\w+\.pth)'", repr(load(file).to_dict()))
    ]
    assert len(starts) >= 7
    for training, checkpoint in starts:
        last = load(f'scenes/{training}.py').train_cfg.max_iters
        assert checkpoint == f'iter_{last}.pth', training
