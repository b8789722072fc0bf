"""Shared by all tests: no network, few threads, and the folder of reference fixtures."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before anything imports transformers, which reads it once.
os.environ['HF_HUB_OFFLINE'] = '1'

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(scope='session', autouse=True)
def few_threads():
    """Tests are small; more threads than this slow them down and fight with other processes."""
    torch.set_num_threads(2)


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Folder with reference weights, fixtures and sample data: $FIBER_SHARED_DIR, or `shared` beside the checkout."""
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

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # these tensors are too small to share
    yield build
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def tiny_scenes(tmp_path_factory) -> Path:
    """Folder of a generated data set of 12, 6 and 6 scenes."""
    from fiber_scenes import write_dataset

    root = tmp_path_factory.mktemp('scenes') / 'data'
    write_dataset(root, {'train': 12, 'val': 6, 'test': 6}, progress=False)
    return root


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
