"""Two processes train and test like one."""

import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config
from mmengine.runner import Runner

from fiber_mmdet.engine.launch import processes_without_gpus
from several_tasks import write_config

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = ['{checkout}/configs/_base_/models/fiber_swin-b.py',
          '{checkout}/configs/_base_/datasets/scenes.py',
          '{checkout}/configs/_base_/schedules/mini_from_scratch.py',
          '{checkout}/configs/_base_/iter_based_runtime.py']
data_root = '{root}/'
model = {model}
pipeline = [*_base_.load,
            dict(type='PackDetInputs', meta_keys=_base_.meta_keys)]
pipeline[3] = dict(pipeline[3], scale=(96, 96))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(_delete_=True, type='PromptCocoDataset', data_root=data_root,
                 ann_file='annotations/coco_shapes_train.json',
                 data_prefix=dict(img='images/train/'), pipeline=pipeline))
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                       dataset=dict(data_root=data_root, ann_file='{five}'))
test_evaluator = dict(ann_file='{five}')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(_delete_=True, type='OptimWrapper',
                     optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.01),
                     constructor='FIBEROptimWrapperConstructor', paramwise_cfg=dict(text_lr=0.005),
                     clip_grad=dict(max_norm=1.0))
custom_hooks = [dict(type='ChosenWeightsEMAHook', momentum=0.1, evaluate='model', save='model')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
log_processor = dict(window_size=1)
"""


def start(torchrun, tool, *arguments):
    """Start a tool as a user does, with these options of torchrun."""
    paths = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / 'tests/support')])
    env = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    env['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
    command = [sys.executable, '-m', 'torch.distributed.run', *torchrun]
    command += [str(CHECKOUT / 'tools' / tool), *map(str, arguments), '--launcher', 'pytorch']
    said = tempfile.TemporaryFile('w+')
    return subprocess.Popen(command, env=env, cwd=CHECKOUT, stdout=said, stderr=said), said


def finish(process, said):
    """Wait for its end, which is a good one."""
    process.wait()
    said.seek(0)
    assert process.returncode == 0, said.read()[-6000:]


def run(tool, *arguments):
    """Run a tool in two processes."""
    finish(*start(['--standalone', '--nproc_per_node=2'], tool, *arguments))


def runner(config, folder, **more):
    """A runner of the same config in this process."""
    cfg = Config.fromfile(config)
    cfg.update(work_dir=str(folder), **more)
    return Runner.from_cfg(cfg)


def logged(folder):
    lines = [
        line
        for file in sorted(folder.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    kept = ('loss', 'grad_norm', 'step')
    return [
        {k: v for k, v in json.loads(line).items() if any(x in k for x in kept)} for line in lines
    ]


def metrics(folder):
    (file,) = folder.glob('*/*.json')
    return {k: v for k, v in json.loads(file.read_text()).items() if 'time' not in k}


@pytest.fixture(scope='module')
def config(tmp_path_factory, tiny_scenes, tiny_sizes):
    file = tmp_path_factory.mktemp('configs') / 'tiny.py'
    truth = json.loads((tiny_scenes / 'annotations/coco_test.json').read_text())
    last = truth['images'].pop()['id']
    truth['annotations'] = [a for a in truth['annotations'] if a['image_id'] != last]
    assert len(truth['images']) == 5
    five = file.with_name('five.json')
    five.write_text(json.dumps(truth))
    model = dict(tiny_sizes, test_cfg=dict(score_thr=0.0, max_per_img=20))
    file.write_text(CONFIG.format(checkout=CHECKOUT, root=tiny_scenes, model=model, five=five))
    return file


@pytest.fixture(scope='module')
def alone(config, tmp_path_factory):
    """Folder of a training with one process and batch size 4."""
    folder = tmp_path_factory.mktemp('alone')
    runner(config, folder).train()
    return folder


def assert_same_training(found, expected, names=('state_dict',), least=4):
    """Assert that losses and final weights in two folders are equal."""
    logs = logged(found), logged(expected)
    assert len(logs[0]) == len(logs[1]) == 4
    for a, b in zip(*logs):
        assert a.keys() == b.keys() and len(a) >= least
        for key, value in b.items():
            assert a[key] == pytest.approx(value, rel=1e-5 if 'loss' in key else 1e-4), key
    first, second = (
        torch.load(folder / 'iter_4.pth', weights_only=False) for folder in (found, expected)
    )
    for part in names:
        assert first[part].keys() == second[part].keys()
        for key, value in second[part].items():
            torch.testing.assert_close(first[part][key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.processes
def test_two_processes_are_one_with_the_double_batch(config, alone, tmp_path):
    run(
        'train.py', config, '--work-dir', tmp_path, '--cfg-options', 'train_dataloader.batch_size=2'
    )
    assert_same_training(tmp_path, alone, ('state_dict', 'ema_state_dict'))


SHARDED = """
_base_ = ['{config}', '{checkout}/configs/_base_/schedules/fsdp.py']
train_dataloader = dict(batch_size=2)
"""


@pytest.mark.processes
def test_sharded_training_and_its_resumption(config, alone, tmp_path):
    """In shards, clipped and recomputed, the same training, average and ordinary checkpoints."""
    file = tmp_path / 'sharded.py'
    file.write_text(
        SHARDED.format(config=config, checkout=CHECKOUT)
        + 'model = dict(backbone=dict(with_cp=True), bbox_head=dict(with_cp=True))'
    )
    assert all(line['grad_norm'] > 1 for line in logged(alone))  # or nothing was clipped
    folder = tmp_path / 'work'
    run('train.py', file, '--work-dir', folder, '--cfg-options', 'train_cfg.max_iters=2')
    run('train.py', file, '--work-dir', folder, '--resume')
    assert_same_training(folder, alone, ('state_dict', 'ema_state_dict'))


@pytest.mark.processes
def test_a_killed_worker_is_started_again(config, alone, tmp_path):
    """Two nodes, on one machine: the job goes on from its last checkpoint with the same losses."""
    file = tmp_path / 'killed.py'
    file.write_text(f"""
_base_ = '{config}'
custom_imports = dict(imports=['fiber_mmdet', 'killed_worker'])
custom_hooks = [*_base_.custom_hooks, dict(type='KilledOnce', iteration=3)]
train_dataloader = dict(batch_size=2)
""")
    folder = tmp_path / 'work'
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    options = '--nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-id=t --max-restarts=3'
    command = [*options.split(), f'--rdzv-endpoint=localhost:{port}']
    arguments = ['train.py', file, '--work-dir', folder, '--resume']
    nodes = [start(command, *arguments) for _ in range(2)]
    for node in nodes:
        finish(*node)
    expected = {line['step']: line for line in logged(alone)}
    found = logged(folder)
    assert (folder / 'killed').exists() and found[-1]['step'] == 4
    assert [line['step'] for line in found][-2:] == [3, 4] and len(found) in (4, 5)
    for line in found:
        assert line == pytest.approx(expected[line['step']], rel=1e-4)


CONTRAST = """
_base_ = ['{checkout}/configs/scenes/fiber_mini_scenes_retrieval.py']
load_from = None
model = dict(
    backbone=dict(frozen_stages=1, image=dict(window=2)),
    heads=dict(itc=dict(queue_size=8, gather=True)))
pipeline = [_base_.read_views, _base_.pack]
pipeline[0]['transforms'][1].update(scale=(64, 64))
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=False),
    dataset=dict(data_root='{root}/', pipeline=pipeline, texts_per_image=1))
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
# In float32. The base trains in bfloat16 where the CPU has it, and there two halves of a batch and
# the whole are rounded apart by 1e-3.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(_delete_=True, type='SGD', lr=0.05, weight_decay=0.01),
    accumulative_counts=2, clip_grad=dict(max_norm=0.1))
param_scheduler = []
train_cfg = dict(max_iters=4, val_interval=5)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
log_processor = dict(window_size=1)
visualizer = dict(name='contrast')  # a new one, which writes into the folder of this training
"""


@pytest.mark.processes
def test_contrast_in_two_processes(tmp_path, tiny_scenes):
    """Gathered negatives, accumulated steps, clipping, unused cross-attention; and in shards."""
    file, sharded = tmp_path / 'contrast.py', tmp_path / 'sharded.py'
    file.write_text(CONTRAST.format(checkout=CHECKOUT, root=tiny_scenes))
    runner(file, tmp_path / 'one').train()
    assert max(line.get('grad_norm', 0) for line in logged(tmp_path / 'one')) > 0.1
    half = ('--cfg-options', 'train_dataloader.batch_size=2')
    run('train.py', file, '--work-dir', tmp_path / 'two', *half)
    assert_same_training(tmp_path / 'two', tmp_path / 'one', least=2)
    sharded.write_text(SHARDED.format(config=file, checkout=CHECKOUT))
    run('train.py', sharded, '--work-dir', tmp_path / 'shards')
    assert_same_training(tmp_path / 'shards', tmp_path / 'one', least=2)


@pytest.mark.processes
def test_several_tasks_in_two_processes(tmp_path, tiny_scenes):
    """Batches of captions and questions, and of statements, whose heads are left out in turns."""
    file = write_config(tmp_path, tiny_scenes, shuffle=False, texts=9)
    runner(file, tmp_path / 'one').train()
    half = ('train_dataloader.batch_size=2', 'train_dataloader.sampler.batch_size=2')
    run('train.py', file, '--work-dir', tmp_path / 'two', '--cfg-options', *half)
    assert_same_training(tmp_path / 'two', tmp_path / 'one', least=3)


@pytest.mark.processes
def test_evaluation_is_shared_without_duplicates(config, alone, tmp_path):
    """Five images for two processes: the sixth, which pads the batches, does not count."""
    folders, checkpoint = (tmp_path / 'one', tmp_path / 'two'), alone / 'iter_4.pth'
    whole = runner(config, folders[0], load_from=str(checkpoint))
    whole.test_evaluator.metrics.append(DumpDetResults(out_file_path=str(folders[0] / 'out.pkl')))
    whole.test()
    run('test.py', config, checkpoint, '--work-dir', folders[1], '--out', folders[1] / 'out.pkl')
    one, two = map(metrics, folders)
    assert two == pytest.approx(one) and 'coco/bbox_mAP' in one
    first, second = (pickle.loads((folder / 'out.pkl').read_bytes()) for folder in folders)
    assert [s['img_id'] for s in second] == [s['img_id'] for s in first] and len(first) == 5
    for a, b in zip(first, second):
        for key in ('scores', 'bboxes', 'labels'):
            torch.testing.assert_close(
                a['pred_instances'][key], b['pred_instances'][key], rtol=1e-4, atol=1e-4
            )


def test_nothing_is_done_without_torchrun(monkeypatch):
    def refuse(backend):
        raise AssertionError

    monkeypatch.setattr('torch.distributed.init_process_group', refuse)
    monkeypatch.delenv('RANK', raising=False)
    for arguments in (['train.py', 'c.py'], ['train.py', 'c.py', '--launcher', 'pytorch']):
        with processes_without_gpus(arguments) as left:
            assert left == arguments
    monkeypatch.setenv('RANK', '0')
    for arguments in (['train.py', 'c.py'], ['train.py', '--launcher', 'none', 'pytorch']):
        with processes_without_gpus(arguments) as left:
            assert left == arguments
    for arguments in (['t', '--launcher', 'pytorch'], ['t', '--launcher=pytorch', 'c.py']):
        with pytest.raises(AssertionError), processes_without_gpus(arguments):
            pass
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with processes_without_gpus(['t', '--launcher', 'pytorch']) as left:
        assert left == ['t', '--launcher', 'pytorch']


WRAPPED = """
import os, sys, torch
from torch.nn.parallel import DistributedDataParallel
from fiber_mmdet.engine.launch import processes_without_gpus

def train():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.itself = [model]  # as a runner and its hooks refer to each other
    model(torch.ones(1, 2)).sum().backward()

def threads():
    return {open(f'/proc/self/task/{task}/comm').read().strip()
            for task in os.listdir('/proc/self/task')}

with processes_without_gpus(['t', '--launcher', 'pytorch']):
    train()
    assert any('gloo' in name for name in threads())
left = threads()
assert not any('gloo' in name for name in left), left
"""


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != 'linux', reason='lists the threads of Linux')
def test_no_thread_of_the_group_outlives_it():
    """A thread that works while Python shuts down aborts a process whose work is done."""
    here = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    env = dict(os.environ, PYTHONPATH=str(CHECKOUT), CUDA_VISIBLE_DEVICES='', **here)
    subprocess.run([sys.executable, '-c', WRAPPED], env=env, check=True, cwd=CHECKOUT)
