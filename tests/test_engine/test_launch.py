"""Checkpoints given to the tools are read safely, or refused in one sentence."""

import pytest
import torch

from fiber_mmdet.engine.launch import load_local_checkpoint


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
