"""Files behind plain addresses: fetched once, in one piece, and never mixed up."""

import threading

import pytest
import torch

from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.checkpoints.downloads import cached_at, local_file
from loopback_hub import LoopbackHub


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with LoopbackHub() as server:
        yield server


def test_a_path_stays_a_path(server):
    assert str(local_file('a/b.pth')) == 'a/b.pth'


def test_addresses_that_end_alike_have_a_file_each(server):
    for owner in ('one', 'two'):
        server.put(f'/{owner}/pytorch_model.bin', owner.encode())
    for owner in ('one', 'two', 'one'):
        assert local_file(f'{server.url}/{owner}/pytorch_model.bin').read_bytes() == owner.encode()
    assert server.contents_sent() == 2


def test_a_name_with_a_checksum_is_that_of_torch_hub(server, tmp_path):
    assert cached_at('https://a.org/x/swin_t-704ceda3.pth') == (
        tmp_path / 'checkpoints/swin_t-704ceda3.pth'
    )


def test_a_broken_connection_and_two_at_a_time(server, tmp_path):
    file = server.put('/x.pth', bytes(range(256)) * 1000)
    file.break_off = 1
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(local_file(f'{server.url}/x.pth').read_bytes())
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [file.content] * 2
    assert [wanted for *_, wanted in server.requests] == [None, 'bytes=128000-']
    assert not list(tmp_path.rglob('*.part'))


def test_a_file_that_is_not_there(server):
    with pytest.raises(ConversionError, match=r'gone\.pth: cannot be downloaded \(404.*put it at'):
        local_file(f'{server.url}/gone.pth')
