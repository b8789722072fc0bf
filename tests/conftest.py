"""Shared by all tests: no network, few threads, and the folder of reference fixtures."""
import os
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
