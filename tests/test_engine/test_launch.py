"""mmdet's tools for this plugin: checkpoints, loaders and predictions."""

from argparse import Namespace

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load

from fiber_mmdet.engine.data_workers import without_workers
from fiber_mmdet.engine.launch import (
    WholePredictions,
    load_local_checkpoint,
    settle_precision,
)
from fiber_mmdet.outputs import OutputError


def test_a_sound_file_is_read(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / 'a.pth')
    assert load_local_checkpoint(str(tmp_path / 'a.pth'))['state_dict']['a'].sum() == 2


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', None])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1000))), path)
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(Exception, match=r'a\.pth is (not a readable checkpoint|refused)'):
        load_local_checkpoint(str(path))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint .*gone.pth'):
        load_local_checkpoint(str(tmp_path / 'gone.pth'))


@pytest.mark.parametrize(
    'loader, changes',
    [
        (dict(num_workers=0, persistent_workers=True), dict(persistent_workers=False)),
        (dict(persistent_workers=True), dict(persistent_workers=False)),
        (
            dict(num_workers=0, persistent_workers=True, prefetch_factor=2),
            dict(persistent_workers=False, prefetch_factor=None),
        ),
        (dict(num_workers=1, persistent_workers=True, prefetch_factor=2), {}),
        (dict(num_workers=0), {}),
    ],
)
def test_loaders_may_have_no_workers(loader, changes):
    config = Config(dict(train_dataloader=loader, val_dataloader=None, other=loader))
    found = without_workers(config)
    assert found == {f'train_dataloader.{key}': value for key, value in changes.items()}
    config.merge_from_dict(found)
    options = {'num_workers': 0, **config.train_dataloader}
    torch.utils.data.DataLoader([1, 2, 3], **options)  # torch accepts them


def test_predictions_are_written_whole_and_onto_no_input(tmp_path, monkeypatch):
    out = tmp_path / 'found.pkl'
    metric = WholePredictions(str(out), inputs=[str(tmp_path / 'weights.pth')])
    metric.compute_metrics([dict(img_id=1)])
    assert load(out) == [dict(img_id=1)]

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('fiber_mmdet.engine.launch.dump', full)
    with pytest.raises(OSError, match='found.pkl'):
        metric.compute_metrics([dict(img_id=2)])
    assert load(out) == [dict(img_id=1)] and [path.name for path in tmp_path.iterdir()] == [
        out.name
    ]
    with pytest.raises(OutputError, match='is read as well'):
        WholePredictions(str(out), inputs=[str(out)]).compute_metrics([])


@pytest.mark.parametrize(
    'given, expected',
    [
        ('OptimWrapper', 'MixedPrecisionOptimWrapper'),
        ('AmpOptimWrapper', 'MixedPrecisionOptimWrapper'),
        ('Bf16OptimWrapper', None),
        ('MixedPrecisionOptimWrapper', None),
    ],
)
def test_amp_takes_the_wrapper_of_any_device(given, expected):
    arguments = Namespace(amp=True, cfg_options=dict(a=1))
    settle_precision(arguments, Config(dict(optim_wrapper=dict(type=given))))
    assert arguments.amp is False  # mmdet's tool would set its own
    assert arguments.cfg_options.get('optim_wrapper.type') == expected
    assert arguments.cfg_options['a'] == 1
