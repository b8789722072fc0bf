"""Shared by the parity tests."""

import pytest
import torch


@pytest.fixture(scope='package', autouse=True)
def one_thread():
    """One thread: on a busy machine a second one costs far more waiting than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
