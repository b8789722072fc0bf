"""Shared by all tests: no network, one thread, tiny models and data that are made once."""

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

# Before anything imports transformers, which reads it once.
os.environ['HF_HUB_OFFLINE'] = '1'

import pytest  # noqa: E402
import torch  # noqa: E402


def pytest_collection_finish():
    """Imported modules are no garbage: mmengine collects it for every dataset, 0.4 s each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """One thread, unless $FIBER_TEST_THREADS says more: tests are small, and run side by side."""
    torch.set_num_threads(int(os.environ.get('FIBER_TEST_THREADS', 1)))


@pytest.fixture(scope='session', autouse=True)
def plain_layout():
    """Configs are written without yapf's layout, which takes seconds for a large one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Folder of reference weights, fixtures and data: $FIBER_SHARED_DIR, or `../shared`."""
    default = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('FIBER_SHARED_DIR', default))
    if not folder.is_dir():
        pytest.skip(f'no reference fixtures: {folder} is not there (set FIBER_SHARED_DIR)')
    return folder


CHECKOUT = Path(__file__).resolve().parents[1]
TINY = dict(
    tokenizer=dict(name_or_path='fiber_mmdet:mini'),
    backbone=dict(
        image=dict(
            embed_dim=16, depths=(1, 1, 2, 2), num_heads=(1, 2, 4, 8), window=4, drop_path=0.0
        ),
        text=dict(
            num_layers=3,
            dim=32,
            num_heads=4,
            ffn_dim=64,
            vocab_size=1200,
            max_positions=258,
            dropout=0.0,
        ),
        num_fused=2,
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=32, drop_prob=0.0),
    bbox_head=dict(channels=32, text_dim=32, num_blocks=1),
)


@pytest.fixture(scope='session')
def tiny_sizes() -> dict:
    """What makes a FIBER config as small as it can be with all of its parts."""
    return TINY


@pytest.fixture
def tiny_model_cfg(tiny_sizes):
    """Config of FIBER-B with these sizes."""
    from mmengine.config import Config

    cfg = Config.fromfile(CHECKOUT / 'configs/_base_/models/fiber_swin-b.py')
    cfg.merge_from_dict(dict(model=tiny_sizes))
    return cfg.model


@pytest.fixture
def build():
    """``build(cfg or module, dtype)``: the module in eval mode, with random parameters throughout.

    Gates are open, norms and biases are neither 0 nor 1, so that nothing cancels by luck.
    """
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    import fiber_mmdet  # noqa: F401

    def build(module, dtype=torch.float32):
        torch.manual_seed(0)
        if isinstance(module, dict):
            with DefaultScope.overwrite_default_scope('mmdet'):
                module = MODELS.build(module)
        for name, parameter in module.named_parameters():
            many = parameter.dim() > 1
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if many else 0.3)
            if name.endswith('gate') or 'norm' in name and name.endswith('weight'):
                parameter.data += 1
        return module.to(dtype).eval()

    return build


@pytest.fixture(scope='session')
def made_once(tmp_path_factory):
    """``made_once(name, make)``: a folder that ``make(folder)`` fills, once for all workers.

    Tests only read it.
    """
    base, lock = tmp_path_factory.getbasetemp(), nullcontext
    if 'PYTEST_XDIST_WORKER' in os.environ:  # whose folder lies within that of the run
        from filelock import FileLock as lock

        base = base.parent

    def made_once(name, make):
        folder = base / f'once-{name}'
        with lock(f'{folder}.lock'):
            if not folder.is_dir():
                half = folder.with_name(f'{folder.name}-half')
                make(half)
                half.rename(folder)
        return folder

    return made_once


@pytest.fixture(scope='session')
def tiny_scenes(made_once) -> Path:
    """Folder of a generated dataset of 12, 6 and 6 scenes."""
    from fiber_scenes import write_dataset

    def make(folder):
        write_dataset(
            folder,
            {'train': 12, 'val': 6, 'test': 6},
            progress=False,
            train_facts=4,
            train_tags=True,
        )

    return made_once('scenes', make)


@pytest.fixture(scope='session')
def benchmark_data(made_once) -> Path:
    """Folder `data` with miniatures of all public datasets that configs name."""
    from benchmark_files import write_all

    return made_once('benchmarks', write_all) / 'data'


@pytest.fixture
def many_threads():
    """``many_threads(work, count)``: ``work(number)`` of each thread, which take turns often."""

    def run(work, count):
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(work, range(count)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield run
    sys.setswitchinterval(interval)
