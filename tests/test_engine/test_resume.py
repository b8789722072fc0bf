"""A resumed training equals the uninterrupted one."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from toy_runs import OneScene, run

INFINITE = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
WORKERS = dict(num_workers=2)
PERSISTENT = dict(num_workers=2, persistent_workers=True)
SEEDED = [dict(type='SeedEveryIterHook')]
CASES = {
    'epochs': (dict(max_epochs=3), {}),
    'epochs, new workers': (dict(max_epochs=3), WORKERS),
    'epochs, persistent workers': (dict(max_epochs=3), PERSISTENT),
    'iterations': (dict(max_iters=9, val_interval=2), INFINITE),
    'iterations, workers': (dict(max_iters=9, val_interval=2), dict(INFINITE, **WORKERS)),
    'iterations, persistent': (dict(max_iters=9, val_interval=2), dict(INFINITE, **PERSISTENT)),
    'iterations, finite sampler': (dict(max_iters=9, val_interval=4), {}),
    'iterations, finite, new workers': (dict(max_iters=9, val_interval=4), WORKERS),
    'iterations, finite, persistent': (dict(max_iters=9, val_interval=4), PERSISTENT),
}


@pytest.fixture(scope='module', autouse=True)
def no_pause():
    """Without mmengine's pause of two seconds whenever a finite sampler ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
        yield


@pytest.fixture(scope='module', params=CASES)
def uninterrupted(request, tmp_path_factory, no_pause):
    """Loop, loader, work_dir and record of a whole training."""
    loop, loader = CASES[request.param]
    folder = tmp_path_factory.mktemp('full')
    return loop, loader, folder, run(folder, SEEDED, loop, loader)[0]


@pytest.mark.parametrize('done', [4, 8])
def test_resumed(uninterrupted, done, tmp_path):
    loop, loader, folder, expected = uninterrupted
    name = f'epoch_{done // 4}.pth' if 'max_epochs' in loop else f'iter_{done}.pth'
    again, _ = run(tmp_path, SEEDED, loop, loader, resume=folder / name)
    assert list(again.iters) == list(range(done, len(expected.iters)))
    for i, (loss, samples, _) in again.iters.items():
        assert torch.equal(samples, expected.iters[i][1]), i
        assert loss == pytest.approx(expected.iters[i][0], rel=1e-6), i


def fractions(recorded):
    """Random numbers that the augmentations of all samples drew, in order."""
    return torch.cat([samples for _, samples, _ in recorded.iters.values()]) % 1


def test_no_augmentation_is_repeated(uninterrupted):
    *_, recorded = uninterrupted
    found = fractions(recorded)
    for column in found.T:
        assert len(column.unique()) == len(column) >= 18


def test_number_of_workers_changes_nothing(tmp_path):
    """The number of workers only affects speed."""
    for loop, sampler in ((dict(max_epochs=2), {}), (dict(max_iters=8), INFINITE)):
        records = [
            run(tmp_path, SEEDED, loop, dict(sampler, **workers))[0]
            for workers in ({}, WORKERS, dict(WORKERS, num_workers=3), PERSISTENT)
        ]
        for other in records[1:]:
            assert torch.equal(fractions(other), fractions(records[0]))
            assert other.losses == pytest.approx(records[0].losses, rel=1e-6)


def test_seeds_of_other_trainings_and_ranks_differ():
    import random

    import numpy as np

    from fiber_mmdet.engine.randomness import seed_process

    def draw(*key):
        seed_process(*key)
        return random.random(), np.random.rand(), torch.rand(()).item()

    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2**63, 0, 0, 0)]
    drawn = [draw(*key) for key in keys]
    assert draw(0, 0, 0, 0) == drawn[0]
    for values in zip(*drawn):
        assert len(set(values)) == len(keys)


def test_own_worker_function_still_runs(tmp_path):
    started = tmp_path / 'started'
    run(
        tmp_path,
        SEEDED,
        dict(max_iters=2),
        dict(INFINITE, num_workers=1, worker_init_fn=dict(type=note, path=started)),
    )
    assert started.read_text() == 'worker 0'


def note(worker, path):
    path.write_text(f'worker {worker}')


def test_without_the_hook_they_differ(tmp_path):
    """mmengine alone repeats neither dropout nor augmentations."""
    loop = dict(max_epochs=2)
    full, _ = run(tmp_path, [], loop, WORKERS)
    again, _ = run(tmp_path, [], loop, WORKERS, resume=tmp_path / 'epoch_1.pth')
    assert again.losses != pytest.approx({i: full.losses[i] for i in again.losses}, rel=1e-3)


# ------------------------------------------------------------- the detector
def test_detector_with_all_its_dropouts(tiny_model_cfg, tmp_path):
    """Dropout, drop path and DropBlock differ between iterations and are repeated on resume."""
    tiny_model_cfg.backbone.image.drop_path = 0.4
    tiny_model_cfg.backbone.text.dropout = 0.2
    tiny_model_cfg.neck.drop_prob = 0.3

    def train(folder, resume=None):
        with DefaultScope.overwrite_default_scope('mmdet'):
            torch.manual_seed(0)
            model = MODELS.build(tiny_model_cfg)
        return run(
            folder,
            SEEDED,
            dict(max_iters=4),
            dict(INFINITE, dataset=OneScene(), collate_fn=dict(type='pseudo_collate')),
            model=model,
            resume=resume,
            lr=1e-4,
            validate=False,
        )[0].losses

    full = train(tmp_path)
    again = train(tmp_path, resume=tmp_path / 'iter_2.pth')
    assert list(again) == [2, 3]
    for i, loss in again.items():
        assert loss == pytest.approx(full[i], rel=1e-6)
