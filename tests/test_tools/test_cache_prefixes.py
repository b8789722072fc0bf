"""Cached image prefixes: the same training without images, and caches that do not belong to it."""

import copy
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import cache_prefixes as tool
from config_files import CONFIGS
from fiber_mmdet.apis import prefix_caching
from fiber_mmdet.prefix_store import PrefixCacheError, PrefixStore
from image_text_pairs import model_cfg
from toy_runs import COUNT

STEPS = 4
QUIET = dict(
    default_hooks=dict(logger=dict(interval=1000), checkpoint=dict(interval=1000)),
    log_level='ERROR',
    custom_hooks=[],
    val_cfg=None,
    val_dataloader=None,
    val_evaluator=None,
    test_cfg=None,
    test_dataloader=None,
    test_evaluator=None,
)


class Losses(Hook):
    """What each iteration logs, and pixels that it had."""

    def __init__(self):
        self.logged, self.pixels = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.logged.append({key: float(value) for key, value in outputs.items()})
        inputs = data_batch['inputs']
        images = inputs if isinstance(inputs, list) else sum(inputs.values(), [])
        self.pixels.append(sum(float(image.float().sum()) for image in images))


def train(cfg, folder):
    """Losses of a training, and the trained weights."""
    cfg, losses = copy.deepcopy(cfg), Losses()
    cfg.work_dir, cfg.experiment_name = str(folder), f'{folder.name}-{next(COUNT)}'
    runner = Runner.from_cfg(cfg)
    runner.register_hook(losses)  # configs are copied
    with DefaultScope.overwrite_default_scope('mmdet'):
        runner.train()
    state = {key: value.clone() for key, value in runner.model.state_dict().items()}
    return losses, state


def tiny(cfg, root):
    """A config that trains for a few steps on tiny scenes."""
    cfg.merge_from_dict(QUIET)
    cfg.default_hooks.pop('visualization', None)
    loader = cfg.train_dataloader
    loader.update(batch_size=3, num_workers=0, persistent_workers=False)
    for dataset in loader.dataset.get('datasets', [loader.dataset]):
        dataset.data_root = f'{root}/'
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=STEPS, val_interval=10**6)
    cfg.param_scheduler = []
    cfg.optim_wrapper.type = 'OptimWrapper'
    return cfg


def questions(root):
    """Answers to questions: 2 of an image, mirrored or not; random depth after the prefix."""
    cfg = Config.fromfile(CONFIGS / 'scenes/fiber_mini_scenes_vqa.py')
    cfg.model = model_cfg(dict(vqa=dict(type='VQAHead', num_answers=36)))
    cfg.model.backbone.update(frozen_prefix=True)
    cfg.model.backbone.image.update(drop_path=0.3)
    cfg.model.backbone.text.update(dropout=0.1)
    dataset = tiny(cfg, root).train_dataloader.dataset
    # Muon computes in bfloat16, and makes more of differences by rounding
    cfg.optim_wrapper.optimizer = dict(type='AdamW', lr=3e-4, weight_decay=0.05)
    dataset.texts_per_image = 2
    views, pack = dataset.pipeline
    for step in views.transforms:
        if step.type == 'Resize':
            step.scale = (64, 64)
    dataset.pipeline = [views, dict(type='FlipViews', prob=0.5), pack]
    return cfg


def boxes(root, sizes, **model):
    """A detector of which little is trained, on prompts of categories and captions."""
    cfg = Config.fromfile(CONFIGS / 'scenes/fiber_mini_scenes.py')
    cfg.model.merge(copy.deepcopy(sizes))
    cfg.model.bbox_head.update(init_cfg=None)
    cfg.model.merge(model)
    return tiny(cfg, root)


def probe(root, sizes):
    return boxes(root, sizes, trainable=['bbox_head.box_conv', 'bbox_head.token_proj'])


def prompt_tuning(root, sizes):
    return boxes(
        root,
        sizes,
        trainable=['backbone.text.prompt_rows'],
        backbone=dict(text=dict(prompt_rows=256)),
    )


TASKS = dict(questions=lambda root, _: questions(root), probe=probe, prompts=prompt_tuning)


@pytest.fixture(scope='module', params=TASKS)
def task(request, tiny_scenes, tiny_sizes, tmp_path_factory):
    """Config of a training with its weights, folder for caches, and its losses with images."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = TASKS[request.param](tiny_scenes, tiny_sizes)
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(copy.deepcopy(cfg.model))
    for name, parameter in model.named_parameters():
        if name.endswith('.gate'):
            torch.nn.init.normal_(parameter)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    cfg.load_from = str(folder / 'weights.pth')
    cfg.dump(folder / 'config.py')
    return cfg, folder, train(cfg, folder / 'images')


def datasets(cfg):
    dataset = cfg.train_dataloader.dataset
    return dataset.get('datasets', [dataset])


def cached(cfg, folder):
    """The training with a cache."""
    cfg = copy.deepcopy(cfg)
    for dataset in datasets(cfg):
        dataset.prefixes = str(folder)
    return cfg


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['cache_prefixes.py', *map(str, arguments)])
    return tool.main()


def test_the_same_losses_without_images(task, monkeypatch, capsys):
    cfg, folder, (expected, weights) = task
    arguments = [folder / 'config.py', cfg.load_from, folder / 'cache', '--device', 'cpu']
    assert run_tool(monkeypatch, *arguments) == 0
    said = capsys.readouterr().out
    assert '12 images x 2 (mirrored, too)' in said and f'prefixes={folder / "cache"}' in said
    found, state = train(cached(cfg, folder / 'cache'), folder / 'cached')
    assert len(expected.logged) == len(found.logged) == STEPS
    assert all(expected.pixels) and not any(found.pixels)
    for with_images, without in zip(expected.logged, found.logged):
        assert without == pytest.approx(with_images, rel=1e-6, abs=1e-7)
    assert any(
        (weights[key] != torch.load(cfg.load_from)['state_dict'][key]).any() for key in weights
    )
    for key, value in weights.items():
        torch.testing.assert_close(state[key], value, rtol=1e-3, atol=2e-5)


def test_half_precision_drifts_a_little(task, monkeypatch):
    cfg, folder, (expected, _) = task
    options = ['--half', '--device', 'cpu']
    assert (
        run_tool(monkeypatch, folder / 'config.py', cfg.load_from, folder / 'half', *options) == 0
    )
    found, _ = train(cached(cfg, folder / 'half'), folder / 'drifting')
    first, drifted = expected.logged[0]['loss'], found.logged[0]['loss']
    assert 0 < abs(first - drifted) < 2e-3 * first


def test_several_tasks_share_the_prefixes(tiny_scenes, tmp_path, monkeypatch, capsys):
    cfg = questions(tiny_scenes)
    asked, captions = (
        cfg.train_dataloader.dataset,
        Config.fromfile(
            CONFIGS / 'scenes/fiber_mini_scenes_captioning.py'
        ).train_dataloader.dataset,
    )
    pipeline = asked.pop('pipeline')
    captions.pop('pipeline')
    asked.pop('texts_per_image'), captions.pop('texts_per_image')
    captions.data_root = asked.data_root
    cfg.train_dataloader.dataset = dict(
        type='TasksOfImages',
        datasets=dict(caption=captions, question=asked),
        texts_per_image=dict(caption=1, question=2),
        pipeline=pipeline,
    )
    cfg.model.heads.caption = dict(type='CaptionHead')
    cfg.model.tasks = dict(caption=['caption'], question=['vqa'])
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(copy.deepcopy(cfg.model))
    cfg.load_from = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=model.state_dict()), cfg.load_from)
    cfg.dump(tmp_path / 'config.py')
    expected, _ = train(cfg, tmp_path / 'images')
    arguments = [tmp_path / 'config.py', cfg.load_from, tmp_path / 'cache', '--device', 'cpu']
    assert run_tool(monkeypatch, *arguments) == 0
    option = f'train_dataloader.dataset.prefixes={tmp_path / "cache"} '
    assert f'--cfg-options {option}' in capsys.readouterr().out
    cfg.train_dataloader.dataset.prefixes = str(tmp_path / 'cache')
    found, _ = train(cfg, tmp_path / 'cached')
    assert all(expected.pixels) and not any(found.pixels)
    for with_images, without in zip(expected.logged, found.logged):
        assert {'loss_caption', 'loss_vqa'} < set(without)
        assert without == pytest.approx(with_images, rel=1e-6, abs=1e-7)


# ------------------------------------------------------------ single questions
@pytest.fixture(scope='module')
def vqa(tiny_scenes, tmp_path_factory):
    """A config, a copy of its data, weights and a cache; not to be changed."""
    folder = tmp_path_factory.mktemp('vqa')
    shutil.copytree(tiny_scenes, folder / 'scenes')
    cfg = questions(folder / 'scenes')
    torch.manual_seed(2)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(copy.deepcopy(cfg.model))
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    cfg.load_from = str(folder / 'weights.pth')
    write(cfg, folder / 'cache')
    return cfg, folder


def write(cfg, folder, **kwargs):
    said = []
    size = prefix_caching.cache_prefixes(
        cfg, cfg.load_from, folder, device='cpu', say=said.append, **kwargs
    )
    return size, said


def build_dataset(cfg):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(copy.deepcopy(cfg.train_dataloader.dataset))


def loss_of(cfg, weights=None, change=None):
    """The loss of a batch of a training dataset."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(copy.deepcopy(cfg.model)).train()
    model.load_state_dict(torch.load(weights or cfg.load_from)['state_dict'])
    if change:
        change(model)
    data = Runner.build_dataloader(dict(cfg.train_dataloader, dataset=build_dataset(cfg)), seed=0)
    return model(**model.data_preprocessor(next(iter(data)), True), mode='loss')


def test_what_would_be_trained_or_random_is_named(vqa, tmp_path):
    cfg, folder = vqa
    thawed = copy.deepcopy(cfg)
    thawed.model.backbone.frozen_prefix = False
    thawed.model.backbone.frozen_stages = 1
    thawed = cached(thawed, folder / 'cache')
    with pytest.raises(PrefixCacheError, match=r'trains \d+ .*backbone.image.stages.1.blocks.0'):
        loss_of(thawed)
    with pytest.raises(PrefixCacheError, match='frozen_prefix=True'):  # before hours of work
        write(thawed, tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()

    def noisy(model):
        model.backbone.image.stages[1].train()

    with pytest.raises(PrefixCacheError, match=r'random .*stages.1.blocks.0.drop_path'):
        loss_of(cached(cfg, folder / 'cache'), change=noisy)


@pytest.mark.parametrize(
    'step, said',
    [
        (dict(type='RandomResizedCrop', scale=64, area=(0.5, 1.0)), 'RandomResizedCrop'),
        (dict(type='ImageRandAugment', num_ops=2, level=7), 'ImageRandAugment'),
        (dict(type='RandomFlip', prob=0.5, direction='vertical'), 'vertical'),
        (dict(type='RandomFlip', prob=0.5), 'two steps'),
    ],
)
def test_random_transforms_are_refused_by_name(vqa, step, said, tmp_path):
    cfg, folder = copy.deepcopy(vqa[0]), vqa[1]
    cfg.train_dataloader.dataset.pipeline[0].transforms.append(step)
    with pytest.raises(PrefixCacheError, match=said):
        write(cfg, tmp_path / 'cache')
    with pytest.raises(PrefixCacheError, match=said):
        build_dataset(cached(cfg, folder / 'cache'))


def test_stale_and_foreign_caches_are_refused(vqa, tmp_path):
    cfg, folder = vqa
    mine = cached(cfg, folder / 'cache')
    state = torch.load(cfg.load_from)['state_dict']
    state['backbone.image.stages.0.blocks.0.mlp.fc1.bias'] += 1e-3
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    with pytest.raises(PrefixCacheError, match=r'stale.*weights\.pth \(fingerprint [0-9a-f]{32}'):
        loss_of(mine, tmp_path / 'other.pth')
    state = torch.load(cfg.load_from)['state_dict']
    state['backbone.image.stages.3.blocks.0.mlp.fc1.bias'] += 1  # after the prefix
    torch.save(dict(state_dict=state), tmp_path / 'later.pth')
    loss_of(mine, tmp_path / 'later.pth')

    def changed(part, **values):
        other = copy.deepcopy(mine)
        part(other).update(values)
        return other

    with pytest.raises(PrefixCacheError, match=r'mean \[103.*is: mean \[0\.0'):
        loss_of(changed(lambda c: c.model.data_preprocessor, mean=[0, 0, 0]))
    shifted = changed(lambda c: c.model.backbone.image, always_shift=True)
    with pytest.raises(PrefixCacheError, match='image tower of other settings'):
        loss_of(shifted)
    with pytest.raises(PrefixCacheError, match=r'step 2 was Resize.*\[64, 64\].*\[96, 96\]'):
        build_dataset(
            changed(lambda c: c.train_dataloader.dataset.pipeline[0].transforms[1], scale=(96, 96))
        )
    root = f'{tmp_path}/'
    shutil.copytree(folder / 'scenes', tmp_path, dirs_exist_ok=True)
    foreign = build_dataset(changed(lambda c: c.train_dataloader.dataset, data_root=root))
    with pytest.raises(PrefixCacheError, match=f'{root}.*not among the 12 images.*VQAv2Dataset'):
        foreign[0]
    with pytest.raises(PrefixCacheError, match='out of tests'):
        build_dataset(
            changed(lambda c: c.train_dataloader.dataset, test_mode=True, texts_per_image=1)
        )
    with pytest.raises(PrefixCacheError, match=r'no cached prefixes.*fiber cache-prefixes'):
        build_dataset(cached(cfg, tmp_path / 'nothing'))


def test_changed_images_are_noticed_and_renewed(vqa, tmp_path):
    root = tmp_path / 'scenes'
    shutil.copytree(vqa[1] / 'scenes', root)
    cfg = copy.deepcopy(vqa[0])
    cfg.train_dataloader.dataset.data_root = f'{root}/'
    write(cfg, tmp_path / 'cache')
    first, second = sorted((root / 'images/train').glob('*.jpg'))[:2]
    os.utime(first, ns=(1, 1))  # a copy of the data has other times
    PrefixStore(tmp_path / 'cache').find(str(first))
    shutil.copyfile(second, first)
    with pytest.raises(PrefixCacheError, match=rf'{first.name} has changed'):
        PrefixStore(tmp_path / 'cache').find(str(first))
    size, _ = write(cfg, tmp_path / 'cache')
    assert size.pending == 12
    store = PrefixStore(tmp_path / 'cache')
    same = store.read(str(first)), store.read(str(second))
    np.testing.assert_array_equal(same[0]['tokens'], same[1]['tokens'])


def test_an_interrupted_run_goes_on(vqa, tmp_path, monkeypatch):
    cfg, folder = vqa
    monkeypatch.setattr(prefix_caching, 'SHARD', 40_000)
    encode, calls = prefix_caching.encode, []

    def interrupted(model, pixels):
        calls.append(len(pixels))
        if len(calls) == 16:  # 12 to know the size, 2 for the first shard
            raise KeyboardInterrupt
        return encode(model, pixels)

    monkeypatch.setattr(prefix_caching, 'encode', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(cfg, tmp_path / 'cache')
    shards = sorted(file.name for file in (tmp_path / 'cache').glob('shard-*'))
    assert 'shard-00000.json' in shards and 'shard-00002.json' not in shards
    with pytest.raises(PrefixCacheError, match=r'1 of its 3 shards.*again'):
        PrefixStore(tmp_path / 'cache')
    before = (tmp_path / 'cache/shard-00000.npy').stat().st_mtime_ns
    monkeypatch.setattr(prefix_caching, 'encode', encode)
    size, said = write(cfg, tmp_path / 'cache')
    assert size.pending == 7 and 'of which 5 images are done' in said[0]
    assert (tmp_path / 'cache/shard-00000.npy').stat().st_mtime_ns == before
    whole, parts = PrefixStore(folder / 'cache'), PrefixStore(tmp_path / 'cache')
    for path in sorted((folder / 'scenes/images/train').glob('*.jpg')):
        for mirrored in (False, True):
            one, other = (store.read(str(path), mirrored) for store in (whole, parts))
            np.testing.assert_allclose(one['tokens'], other['tokens'], rtol=1e-5, atol=1e-5)
    with pytest.raises(PrefixCacheError, match='float32 numbers'):  # another cache's folder
        write(cfg, tmp_path / 'cache', half=True)
    with pytest.raises(PrefixCacheError, match='no cache'):
        write(cfg, folder / 'scenes')


def test_a_full_disk_is_refused_before_anything_is_written(vqa, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(prefix_caching.shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(PrefixCacheError, match=r'98\.3 kB are needed.*10 kB left.*--half'):
        write(vqa[0], tmp_path / 'cache')
    assert not list((tmp_path / 'cache').glob('shard*'))


def test_damaged_shards_are_named(vqa, tmp_path):
    cfg, folder = vqa
    shutil.copytree(folder / 'cache', tmp_path / 'cache')
    path = next((folder / 'scenes/images/train').glob('*.jpg'))
    shard = tmp_path / 'cache/shard-00000.npy'
    numbers = np.load(shard, mmap_mode='r+')
    numbers[:] += 1
    numbers.flush()
    with pytest.raises(PrefixCacheError, match=r'shard-00000.npy is damaged'):
        PrefixStore(tmp_path / 'cache').read(str(path))
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(PrefixCacheError, match=r'shard-00000.npy is damaged'):
        PrefixStore(tmp_path / 'cache').read(str(path))
    manifest = tmp_path / 'cache/prefixes.json'
    manifest.write_text(json.dumps(dict(json.loads(manifest.read_text()), format=99)))
    with pytest.raises(PrefixCacheError, match='format 99'):
        PrefixStore(tmp_path / 'cache')


def test_mirrored_copies_are_needed_only_by_those_who_mirror(vqa, tmp_path):
    cfg = copy.deepcopy(vqa[0])
    size, _ = write(cfg, tmp_path / 'plain', mirrored='no')
    assert size.copies == 1
    with pytest.raises(PrefixCacheError, match='no mirrored copies'):
        build_dataset(cached(cfg, tmp_path / 'plain'))
    del cfg.train_dataloader.dataset.pipeline[1]
    for folder in (tmp_path / 'plain', vqa[1] / 'cache'):
        sample = build_dataset(cached(cfg, folder))[0]
        assert sample['inputs'] == {} and len(sample['data_samples'].samples) == 2
        prefix = sample['data_samples'].image_prefix
        assert prefix.views['image']['tokens'].shape == (4, 4, 64)
