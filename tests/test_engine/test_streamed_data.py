"""A training on shards: resumed, it equals the uninterrupted one; broken data are counted."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets.shards.streams import BrokenDataError
from fiber_mmdet.engine import BriefRunner
from fiber_mmdet.engine.streamed_data import StreamPositionHook
from made_shards import LOAD, image, sample_files, write_json, write_shards, write_tar
from toy_runs import Score, run

pytest.importorskip('webdataset', reason='needs the extra shards')
CHECKOUT = Path(__file__).resolve().parents[2]
LOOP = dict(max_iters=9, val_interval=100)
SEEDED = [dict(type='SeedEveryIterHook')]
DECODED = []


def to_toy(results):
    """The number of an image, with random numbers of the three generators."""
    _, green, red = results['views']['image']['img'][0, 0].tolist()
    number = red + 256 * green
    DECODED.append(number)
    drawn = [random.random(), np.random.rand(), torch.rand(()).item()]
    return dict(inputs=torch.tensor([number + x for x in drawn], dtype=torch.float32))


def train(folder, dataset, workers=0, loop=LOOP, hooks=SEEDED, **more):
    loader = dict(dataset=dataset, sampler=None, num_workers=workers)
    more = dict(dict(log_level='WARNING', kind=BriefRunner, validate=False), **more)
    return run(folder, hooks, loop, loader, **more)


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    """Six shards, with a broken image, a missing caption, and a shard that is cut off."""
    folder = tmp_path_factory.mktemp('shards')
    paths = write_shards(folder, [9, 7, 8, 6, 9])
    files = sample_files(100) | sample_files(101) | sample_files(102)
    files['000000100.png'] = b'no image'
    del files['000000102.txt']
    write_tar(folder / '00005.tar', files)
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[: len(whole) // 3])
    write_json(folder / 'json', 12)
    return folder


def web(folder, **more):
    given = dict(shards='*.tar', data_root=str(folder), shuffle=5, pipeline=[LOAD, to_toy])
    return dict(type='WebImageTextDataset', **dict(given, **more))


def mix(shards):
    pairs = dict(
        type='WebCaptionDataset',
        ann_file='captions.json',
        data_root=str(shards / 'json'),
        pipeline=[LOAD, to_toy],
    )
    return dict(type='WeightedMixDataset', datasets=[web(shards), pairs], weights=[2, 1])


@pytest.mark.parametrize('kind, workers', [(web, 0), (web, 2), (mix, 2)])
def test_resumed(kind, workers, shards, tmp_path):
    loop = dict(LOOP, max_iters=17)
    full, _ = train(tmp_path / 'full', kind(shards), workers, loop)
    for done in (1, 13):
        DECODED.clear()
        again, _ = train(
            tmp_path / str(done),
            kind(shards),
            workers,
            loop,
            resume=tmp_path / 'full' / f'iter_{done}.pth',
        )
        assert list(again.iters) == list(range(done, 17))
        for i, (loss, samples, _) in again.iters.items():
            assert torch.equal(samples, full.iters[i][1]), i
            assert loss == pytest.approx(full.iters[i][0], rel=1e-6), i
        if workers == 0 and kind is web:  # broken images are not decoded, and so are not here
            assert DECODED == numbers(again)


def numbers(record):
    """The images of all samples of a training, in order."""
    return [int(x) for _, samples, _ in record.iters.values() for x in samples[:, 0].tolist()]


def test_checkpoint_of_a_training_without_streams(shards, tmp_path):
    full, _ = train(tmp_path / 'full', web(shards), loop=dict(LOOP, max_iters=4))
    file = tmp_path / 'full' / 'iter_4.pth'
    checkpoint = torch.load(file, weights_only=False)
    del checkpoint['streams']
    torch.save(checkpoint, file)
    again, _ = train(tmp_path / 'again', web(shards), loop=dict(LOOP, max_iters=8), resume=file)
    assert numbers(again) == numbers(full)
    assert 'does not say how far the shards were read' in log_of(tmp_path / 'again')


def test_order_without_a_seed_of_the_config(shards, tmp_path):
    """It is that of the training before."""
    loop = dict(LOOP, max_iters=8)
    full, _ = train(tmp_path / 'full', web(shards), loop=loop, randomness=dict(seed=5))
    file = tmp_path / 'full' / 'iter_4.pth'
    again, _ = train(
        tmp_path / 'again', web(shards), loop=loop, resume=file, randomness=dict(seed=6)
    )
    assert numbers(again) == numbers(full)[8:]


def log_of(folder):
    return ''.join(path.read_text() for path in folder.rglob('*.log'))


def test_what_is_left_out_is_in_the_log(shards, tmp_path):
    loop = dict(LOOP, max_iters=40)
    train(tmp_path, web(shards, max_broken=0.3), loop=loop, hooks=[])
    log = log_of(tmp_path)
    assert '00005.tar, 000000100: its image cannot be read' in log
    assert '00005.tar, 000000102: no txt file' in log
    assert '00003.tar: it cannot be read to its end' in log
    assert 'number 3 of this process' in log
    assert 'left out so far, by all processes' in log


@pytest.mark.parametrize('workers', [0, 1])
def test_too_much_is_broken(workers, shards, tmp_path):
    with pytest.raises(BrokenDataError, match='max_broken=0 of them; the last one: .*0000') as said:
        train(tmp_path, web(shards, max_broken=0), workers, dict(LOOP, max_iters=40))
    assert 'Traceback' not in str(said.value)


def test_other_number_of_workers(shards, tmp_path):
    """What was used is not used again in the same pass."""
    many = write_shards(tmp_path / 'many', [2] * 40)
    dataset = web(tmp_path / 'many', shuffle=2)
    assert len(many) == 40
    full, _ = train(tmp_path / 'full', dataset, 1, dict(LOOP, max_iters=10))
    loop, checkpoint = dict(LOOP, max_iters=20), tmp_path / 'full' / 'iter_10.pth'
    again, _ = train(tmp_path / 'again', dataset, 2, loop, resume=checkpoint)
    used, later = numbers(full), numbers(again)
    assert len(later) == 20 and not set(used) & set(later) and len(set(later)) == 20
    assert 'were read by 1 data workers, and now by 2' in log_of(tmp_path / 'again')


def test_other_shards(shards, tmp_path):
    train(tmp_path / 'full', web(shards), loop=dict(LOOP, max_iters=4))
    train(tmp_path / 'again', web(shards, shuffle=4), resume=tmp_path / 'full' / 'iter_4.pth')
    assert 'not those of the checkpoint' in log_of(tmp_path / 'again')


def test_states_of_all_processes_are_saved():
    """The first process writes the checkpoint, and knows the streams of the others."""
    hook = StreamPositionHook()
    hook.states = {0: dict(at=3), 2: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'fiber_mmdet.engine.streamed_data.all_gather_object',
            lambda own: [own, {1: dict(faults=2, samples=9), 3: None}],
        )
        lines = []
        logger = type('Logger', (), dict(warning=lines.append))
        hook.before_write_checkpoint(type('Runner', (), dict(logger=logger)))
    assert hook.everywhere == {0: dict(at=3), 2: None, 1: dict(faults=2, samples=9), 3: None}
    assert '2 of 9 samples' in lines[0]


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(sampler=dict(type='InfiniteSampler')), 'leave it out, or set sampler=None'),
        (dict(batch_sampler=dict(type='AspectRatioBatchSampler')), 'batch_sampler'),
        (dict(num_batch_per_epoch=3), 'max_iters'),
    ],
)
def test_settings_of_an_order(change, said, shards):
    loader = dict(dict(batch_size=2, dataset=web(shards)), **change)
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(ValueError, match=said):
        BriefRunner.build_dataloader(loader, 0)


def test_epochs_are_refused(shards, tmp_path):
    with pytest.raises(ValueError, match='IterBasedTrainLoop'):
        train(tmp_path, web(shards), loop=dict(max_epochs=2))


def test_evaluation_is_refused(shards, tmp_path):
    val = dict(
        val_dataloader=dict(batch_size=2, dataset=dict(web(shards), pipeline=[])),
        val_cfg=dict(),
        val_evaluator=dict(type=Score),
    )
    with pytest.raises(ValueError, match='val_dataloader.dataset is a WebImageTextDataset'):
        train(tmp_path, web(shards), **val)


def test_sampler_may_be_left_out(shards):
    with DefaultScope.overwrite_default_scope('mmdet'):
        loader = BriefRunner.build_dataloader(dict(batch_size=3, dataset=web(shards)), 5)
    batch = next(iter(loader))
    assert batch.progress.stream == 0 and loader.dataset.seed == 5
    assert batch.progress.state['used'] == 3


def test_image_of_another_kind(tmp_path):
    """webp and jpg, as img2dataset writes them, are found by their endings."""
    files = {'1.jpg': image(1, 'JPEG'), '1.txt': b'a', '2.webp': image(2, 'WEBP'), '2.txt': b'b'}
    write_tar(tmp_path / 'a.tar', files)
    with DefaultScope.overwrite_default_scope('mmdet'):
        loader = BriefRunner.build_dataloader(
            dict(batch_size=2, dataset=web(tmp_path, shuffle=1)), 0
        )
    assert len(next(iter(loader))['inputs']) == 2


CONFIG = """
_base_ = '{checkout}/configs/scenes/fiber_mini_scenes_pretrain_shards.py'
load_from = None
model = dict(heads=dict(itm=None))
train_dataloader = dict(
    batch_size=2, num_workers=2, dataset=dict(data_root='{root}', shuffle=5, max_broken=1))
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
optim_wrapper = dict(type='OptimWrapper')
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=5, max_keep_ckpts=3))
train_cfg = dict(max_iters=8, val_interval=100)
log_processor = dict(window_size=1)
randomness = dict(seed=1)
"""


@pytest.mark.processes
def test_two_processes_resumed(tmp_path):
    """Two processes with two workers each, and a broken sample in each shard."""
    for i in range(7):
        files = {'x.png': b'?', 'x.json': b'{"captions": ["a"]}'}
        for number in range(4 * i, 4 * i + 4):
            files |= sample_files(number, 2)
        write_tar(tmp_path / 'shards' / f'{i}.tar', files)
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(checkout=CHECKOUT, root=tmp_path / 'shards'))
    losses = []
    for name, more in (('full', []), ('again', ['--resume', tmp_path / 'full' / 'iter_5.pth'])):
        command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
        command += [CHECKOUT / 'tools/train.py', config, '--work-dir', tmp_path / name, *more]
        done = subprocess.run(
            [sys.executable, *map(str, command), '--launcher', 'pytorch'],
            env=dict(os.environ, PYTHONPATH=str(CHECKOUT), CUDA_VISIBLE_DEVICES=''),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        (log,) = (tmp_path / name).glob('*/vis_data/scalars.json')
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        losses.append({row['step']: row['loss'] for row in rows if 'loss' in row})
    states = torch.load(tmp_path / 'full' / 'iter_5.pth', weights_only=False)['streams']
    assert states['count'] == 4 and sorted(states['states']) == [0, 1, 2, 3]
    assert 'left out so far, by all processes: ' in log_of(tmp_path / 'full')
    assert list(losses[1]) == [6, 7, 8]
    assert losses[1] == pytest.approx({i: losses[0][i] for i in (6, 7, 8)}, rel=1e-5)
