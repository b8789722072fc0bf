"""One thread: these models are too small to share, and threads that wait for each other are slow."""

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
