"""Known weights wherever weights are named: demo, inferencers, tools/weights.py, test and train."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import disguises
from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
from fiber_mmdet.apis.acceptance import check_train
from fiber_mmdet.apis.loading import LoadingError
from fiber_mmdet.apis.results import GroundingResult
from fiber_mmdet.checkpoints import read_checkpoint
from fiber_mmdet.engine.start import choose_start
from fiber_mmdet.weights import catalogue, get_weights, stored_weights
from image_text_model import model_files, scenes  # noqa: F401
from known_models import FILE, REPO, record

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def tool(monkeypatch):
    """``tool('demo', *arguments)`` runs a tool; the exit code."""

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        try:
            return runpy.run_path(str(TOOLS / f'{name}.py'))['main']()
        except SystemExit as end:
            return end.code

    return run


@pytest.fixture
def photo(shared_dir):
    """A photo of COCO."""
    return sorted((shared_dir / 'data/coco128/train2017').glob('*.jpg'))[0]


def test_demo_by_name_and_again_without_network(hub, tool, photo, tiny_config, tmp_path, capsys):
    for number in (1, 2):
        out = tmp_path / f'{number}.jpg'
        found = tool(
            'demo', photo, 'a dog . a frisbee', '--model', 'tiny', '--out', out,
            '--score-thr', 0, '--device', 'cpu',
        )  # fmt: skip
        assert found == 0
        record = json.loads(out.with_suffix('.json').read_text())
        assert record['phrases'] == ['a dog', 'a frisbee'] and len(record['detections'])
        assert min(Image.open(out).size) >= min(Image.open(photo).size)
        hub.stop() if number == 1 else None
    assert hub.contents_sent() == 1
    assert (tmp_path / '1.json').read_text() == (tmp_path / '2.json').read_text()
    capsys.readouterr()
    assert tool('demo', photo, 'a dog', '--model', 'tinny') == 1
    assert 'did you mean tiny' in capsys.readouterr().err
    assert tool('demo', photo, 'a dog', '--model', 'tiny-tower') == 1
    assert 'is not a complete model' in capsys.readouterr().err
    assert tool('demo', photo, 'a dog', '--model', '') == 1
    assert 'no weights are known by the name' in capsys.readouterr().err
    assert tool('demo', photo, 'a dog', '--config', tiny_config, '--weights', 'tiny') == 1
    assert 'tiny: no such file. Known weights are given as fiber://tiny' in capsys.readouterr().err


def test_inferencer_by_name(hub, official_file, tiny_config):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    by_name = FIBERInferencer('tiny', device='cpu')(pixels, 'a dog', score_thr=0)
    straight = FIBERInferencer(tiny_config, official_file, 'cpu')(pixels, 'a dog', score_thr=0)
    assert len(by_name) and np.array_equal(by_name.boxes, straight.boxes)
    get_weights('tiny', half=True)
    stored_weights('tiny', half=False).unlink()
    halved = FIBERInferencer('fiber://tiny', device='cpu')(pixels, 'a dog', score_thr=0)
    assert halved.scores[0] == pytest.approx(by_name.scores[0], rel=0.02)
    again = FIBERInferencer(tiny_config, 'fiber://tiny', 'cpu')(pixels, 'a dog', score_thr=0)
    assert np.array_equal(again.boxes, halved.boxes)


def test_weights_tool(hub, tool, official_file, tmp_path, capsys):
    assert tool('weights', 'where', 'tiny') == 1
    assert 'weights.py get tiny' in capsys.readouterr().err
    assert tool('weights', 'get', 'tiny') == 0
    path = capsys.readouterr().out.strip()
    for name in ('tiny', 'fiber://tiny'):
        assert tool('weights', 'where', name) == 0
        assert capsys.readouterr().out.strip() == path and Path(path).is_file()
    assert tool('weights', 'get', 'tiny', '--float16') == 0
    halved = capsys.readouterr().out.strip()
    assert 'float16' in halved
    Path(path).unlink()
    assert tool('weights', 'get', 'tiny') == 0
    assert capsys.readouterr().out.strip() == halved
    assert tool('weights', 'where', 'tiny', '--float32') == 1
    assert tool('weights', 'get', 'tiny', '--float32') == 0
    assert capsys.readouterr().out.strip() == path and hub.contents_sent() == 1
    assert tool('weights', 'list') == 0
    listed = capsys.readouterr().out
    assert 'tiny ' in listed and 'in the cache' in listed and 'tiny-unseen' in listed
    assert tool('weights', 'list', 'tiny') == 0
    assert f'size       {official_file.stat().st_size / 1e9:.2f} GB' in capsys.readouterr().out
    assert tool('weights', 'get', 'nothing') == 1
    assert 'no weights are known by the name' in capsys.readouterr().err
    assert tool('weights', 'get', 'tiny', '--file', tmp_path / 'gone') == 1
    assert tool('weights', 'get', 'tiny', '--unverified') == 2


def test_check(hub, tool, official_file, tiny_config, shared_dir, tmp_path, capsys):
    coco = shared_dir / 'data/coco128'
    asked = ['--coco-folder', coco, '--images', 2, '--device', 'cpu']
    assert tool('weights', 'check', 'tiny', *asked) == 1
    said, error = capsys.readouterr()
    assert not error.count('error:'), error
    assert 'pass  keys: all' in said and 'FAIL  photos: AP 0.0' in said
    assert 'on 2 photos and 80 names' in said and '2 passed, 1 failed: photos' in said
    assert 'pass  file: tiny, sha256' in said
    assert tool('weights', 'check', official_file, '--config', tiny_config) == 0
    said = capsys.readouterr().out
    assert 'pass  file: tiny, sha256' in said
    assert 'pass  keys: fine-grained, without query norm' in said and 'none unknown' in said
    assert tool('weights', 'check', official_file) == 1  # taken for a FIBER-B, by its names
    assert 'FAIL  keys' in capsys.readouterr().out
    other = bytearray(official_file.read_bytes())
    other[-1] ^= 1
    (tmp_path / 'other.pth').write_bytes(other)
    assert tool('weights', 'check', tmp_path / 'other.pth', '--config', tiny_config) == 1
    assert 'FAIL  file: of the size of tiny, but with sha256' in capsys.readouterr().out
    assert tool('weights', 'check', 'tiny', '--coco-folder', tmp_path) == 1
    assert 'annotations/instances_NAME.json' in capsys.readouterr().err


def test_image_text_models_by_name(hub, tool, model_files, scenes, tmp_path):
    config, weights = model_files
    table = tmp_path / 'known.json'
    hub.add('someone/own', 'weights.pth', weights)
    row = record('tiny-own', ['hf://someone/own/weights.pth'], layout='ours', config=str(config))
    table.write_text(json.dumps([*json.loads(table.read_text()), row]))
    catalogue.known_weights.cache_clear()
    answers = tmp_path / 'answers.json'
    answers.write_text(json.dumps([str(number) for number in range(36)]))
    out = tmp_path / 'out.jpg'
    assert not tool(
        'demo_image_text', 'answer', scenes[0], 'how many rings?', '--model', 'tiny-own',
        '--answers', answers, '--out', out, '--device', 'cpu',
    )  # fmt: skip
    (found,) = json.loads(out.with_suffix('.json').read_text())
    hub.stop()
    by_name, straight = (
        ImageTextInferencer(*which, device='cpu', answers=answers)
        for which in (('tiny-own',), (config, weights))
    )
    for ask in (by_name, straight):
        assert ask.answer(scenes[0], 'how many rings?').answer == found['answer']
    with pytest.raises(LoadingError, match='only detectors'):
        FIBERInferencer('tiny-own', device='cpu')


def test_convert_and_publish_by_address(hub, tool, tiny_config, tmp_path):
    ours, out = tmp_path / 'ours.pth', tmp_path / 'published'
    tool('convert_checkpoint', f'hf://{REPO}/{FILE}', ours, '--config', tiny_config)
    assert len(read_checkpoint(ours)['state_dict'])
    tool('publish_checkpoint', tiny_config, 'fiber://tiny', out)
    published = read_checkpoint(out / 'weights.pth')['state_dict']
    assert set(published) == set(read_checkpoint(ours)['state_dict'])


class Sees:
    """An inferencer whose answer is known."""

    def __init__(self, score, box):
        self.found = GroundingResult(
            np.array([box], 'f4'),
            np.array([score], 'f4'),
            np.array([0]),
            ('train', 'sidewalk'),
            (((2, 7),), ((16, 24),)),
            'a train besides sidewalk',
            (984, 812),
        )

    def __call__(self, image, prompt, **options):
        assert [prompt[begin:end] for ((begin, end),) in options['tokens_positive']] == [
            'train',
            'sidewalk',
        ]
        return self.found


def test_the_train(tmp_path):
    photo = tmp_path / '1.png'
    Image.new('RGB', (812, 984)).save(photo)
    assert check_train(Sees(0.6, (240, 220, 811, 884)), photo).passed is True
    assert check_train(Sees(0.4, (240, 220, 811, 884)), photo).passed is False
    assert check_train(Sees(0.6, (0, 0, 811, 984)), photo).passed is False
    Image.new('RGB', (80, 98)).save(photo)
    verdict = check_train(Sees(0.6, (240, 220, 811, 884)), photo)
    assert verdict.passed is None and '812 x 984' in verdict.detail


def test_names_are_started_from_not_resumed(tmp_path):
    start = choose_start(True, 'fiber://tiny', tmp_path)
    assert not start.resume and start.load_from == 'fiber://tiny'
    assert 'cannot be resumed' in start.remarks[0]
    with pytest.raises(ValueError, match='fiber://tiny stands for weights alone.*load_from'):
        choose_start('fiber://tiny', None, tmp_path)


def test_test_and_train_by_name(hub, tiny_config, shared_dir, tmp_path, monkeypatch):
    from fiber_mmdet.engine.launch import run_mmdet_tool

    coco = f'{shared_dir}/data/coco128/'
    cfg = Config.fromfile(tiny_config)
    data = dict(
        data_root=coco,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        indices=2,
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data)
        loader.update(num_workers=0, persistent_workers=False, batch_size=1)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = coco + data['ann_file']
    for step in cfg.train_dataloader.dataset.pipeline:
        if 'scales' in step:
            step.scales = [(128, 128)]
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=5)
    cfg.load_from, cfg.env_cfg.dist_cfg.backend = 'fiber://tiny', 'gloo'
    cfg.dump(tmp_path / 'here.py')
    monkeypatch.chdir(tmp_path)
    for name, arguments in (('test.py', ['fiber://tiny']), ('train.py', [])):
        # runs of one second and one name would share a log
        more = ['--work-dir', name[:-3], '--cfg-options', f'experiment_name={name[:-3]}']
        monkeypatch.setattr(sys, 'argv', [name, 'here.py', *arguments, *more])
        run_mmdet_tool(name)
    assert list((tmp_path / 'train').glob('epoch_1.pth'))
    logs = ''.join(log.read_text() for log in (tmp_path / 'train').rglob('*.log'))
    assert 'fiber://tiny' in logs


def test_borrowing_by_name_and_from_the_hub(hub, tool, tmp_path, capsys):
    import torch

    import borrowers
    import donor_files

    torch.save(dict(state_dict=donor_files.meter()), tmp_path / 'meter.ckpt')
    hub.add('someone/METER', 'meter.ckpt', tmp_path / 'meter.ckpt')
    config = tmp_path / 'config.py'
    config.write_text(f'model = {borrowers.image_text()!r}\n')
    options = (tmp_path / 'start.pth', '--config', config)
    assert tool('borrow_weights', 'hf://someone/METER/meter.ckpt', *options) == 0
    assert 'borrowed from METER (meter.ckpt): image, text, words' in capsys.readouterr().out
    for name in ('tiny-tower', 'tiny'):
        assert tool('borrow_weights', name, *options) == 1
        assert 'is a checkpoint of FIBER itself' in capsys.readouterr().err
    assert tool('weights', 'check', tmp_path / 'meter.ckpt') == 1
    assert 'meter.ckpt: is a checkpoint of METER' in capsys.readouterr().err
    for address, said in (
        ('hf://someone/METER', 'is a repository: add the file'),
        ('ftp://host/meter.ckpt', 'only fiber://NAME, hf://OWNER/REPOSITORY/FILE and http(s)'),
    ):
        assert tool('borrow_weights', address, *options) == 1
        assert said in capsys.readouterr().err


def test_files_of_the_hub_are_looked_at_before_a_training_resumes(hub, tmp_path):
    """A name is weights alone; so may be a file at an address, and then it cannot be resumed."""
    for name, content in (('weights', dict(state_dict={})), ('training', disguises.training())):
        torch.save(content, tmp_path / name)
        hub.add('team/runs', f'{name}.pth', tmp_path / name)
    start = choose_start(True, 'hf://team/runs/training.pth', tmp_path / 'work')
    assert start.resume and start.load_from == 'hf://team/runs/training.pth'
    start = choose_start(True, 'hf://team/runs/weights.pth', tmp_path / 'work')
    assert not start.resume and start.load_from == 'hf://team/runs/weights.pth'
    assert 'holds no state of a training' in start.remarks[0]
