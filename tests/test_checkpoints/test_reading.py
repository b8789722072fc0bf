"""Reading checkpoint files: what is refused, and where the weights are found."""

import builtins
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from fiber_mmdet.checkpoints import ConversionError, official_weights, our_weights, read_checkpoint
from fiber_mmdet.checkpoints.allowed import allow_mmengine_checkpoints
from fiber_mmdet.checkpoints.reading import read_training_checkpoint
from tiny_checkpoints import assert_same


class Harmful:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('legacy', [False, True])
def test_file_that_would_run_code_is_refused(tmp_path, legacy):
    path = tmp_path / 'evil.pth'
    torch.save(
        dict(model={'a': torch.ones(1)}, extra=Harmful(tmp_path / 'proof')),
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(ConversionError, match=r'evil\.pth: refused.*mkdir.*weights_only'):
        read_checkpoint(path)
    assert not (tmp_path / 'proof').exists()


def getattr_attack(path):
    """A file that plants `exec` in the builtins, if it may call the real `getattr`."""

    def name(module, attribute):
        return f'c{module}\n{attribute}\n'.encode()

    def text(x):
        return b'X' + struct.pack('<I', len(x)) + x.encode()

    def attribute(owner, which):
        return name('builtins', 'getattr') + owner + text(which) + b'\x86R'

    module = attribute(name('builtins', 'getattr'), '__self__')
    program = (
        b'\x80\x02'
        + attribute(module, '__dict__')
        + text('planted')
        + attribute(module, 'exec')
        + b's.'
    )
    torch.save({'a': 1}, path)
    with zipfile.ZipFile(path) as file:
        entries = {entry: file.read(entry) for entry in file.namelist()}
    with zipfile.ZipFile(path, 'w') as file:
        for entry, content in entries.items():
            file.writestr(entry, program if entry.endswith('data.pkl') else content)


def test_getattr_is_not_the_real_one(tmp_path):
    """Neither ours, nor the one that others in the process have allowed."""
    getattr_attack(tmp_path / 'evil.pth')
    with torch.serialization.safe_globals([getattr]):
        with pytest.raises(ConversionError, match=r'evil\.pth'):
            read_checkpoint(tmp_path / 'evil.pth')
        assert getattr in torch.serialization.get_safe_globals()
    assert getattr not in torch.serialization.get_safe_globals()
    assert not hasattr(builtins, 'planted')


def test_mmengine_checkpoint_is_read(tmp_path):
    weights = dict(weight=torch.rand(3, 2), bias=torch.rand(3))
    hub = MessageHub.get_instance('test_reading')
    hub.update_scalar('loss', 1.5)
    torch.save(
        dict(
            state_dict=weights,
            message_hub=hub.state_dict(),
            meta=dict(epoch=3, score=np.float32(2), history=np.arange(3.0)),
        ),
        tmp_path / 'epoch_3.pth',
    )
    checkpoint = read_checkpoint(tmp_path / 'epoch_3.pth')
    assert_same(our_weights(checkpoint), weights)
    assert checkpoint['meta']['epoch'] == 3


def test_lightning_and_yacs_bookkeeping_is_read(tmp_path, monkeypatch):
    for module, name, base in (
        ('pytorch_lightning.callbacks.model_checkpoint', 'ModelCheckpoint', object),
        ('yacs.config', 'CfgNode', dict),
    ):
        kind = type(name, (base,), dict(__module__=module))
        parts = module.split('.')
        for i in range(1, len(parts) + 1):
            package = '.'.join(parts[:i])
            monkeypatch.setitem(sys.modules, package, type(sys)(package))
        setattr(sys.modules[module], name, kind)
    callback = sys.modules['pytorch_lightning.callbacks.model_checkpoint'].ModelCheckpoint
    config = sys.modules['yacs.config'].CfgNode(a=1)
    config.frozen = True
    torch.save(
        dict(
            callbacks={callback: dict(best=torch.ones(1))},
            config=config,
            state_dict=dict(a=torch.ones(2)),
        ),
        tmp_path / 'last.ckpt',
    )
    checkpoint = read_checkpoint(tmp_path / 'last.ckpt')
    assert checkpoint['config'] == dict(a=1)
    assert_same(official_weights(checkpoint), dict(a=torch.ones(2)))


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'no such file'),
        (b'', 'not a checkpoint, but empty'),
        (b'Hello, this is a text', 'not a checkpoint, but a text'),
        ('päge '.encode() * 200, 'not a checkpoint, but a text'),
        (b'\xef\xbb\xbf\n<!DOCTYPE html>\n<html>', 'not a checkpoint, but an HTML page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', '.* a pointer of git LFS'),
        (b'\xff\xd8\xff\xe0' + bytes(600), '.* an image'),
        (b'\x1f\x8b\x08' + bytes(600), '.* a gzip archive: unpack it'),
        (b'a.pth' + bytes(252) + b'ustar' + bytes(300), '.* a tar archive: unpack it'),
        (b'\x80\x04XX' + bytes(600), 'not a checkpoint'),
        (pickle.dumps([1, 2], 2), 'not a checkpoint'),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, content, message):
    path = tmp_path / 'x.pth'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConversionError, match=rf'x\.pth: {message}') as error:
        read_checkpoint(path)
    assert 'weights_only' not in str(error.value)  # no advice to run what is in the file


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ConversionError, match='it is a folder'):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match='it is a folder'):
        read_training_checkpoint(tmp_path)


def test_content_that_is_no_checkpoint(tmp_path):
    torch.save([torch.ones(1)], tmp_path / 'list.pth')
    with pytest.raises(ConversionError, match='holds a list'):
        read_checkpoint(tmp_path / 'list.pth')
    with pytest.raises(ConversionError, match="'epoch' are not tensors"):
        official_weights(dict(epoch=3))
    with pytest.raises(ConversionError, match='no weights'):
        our_weights(dict(state_dict={}))


def test_weights_are_found_wherever_they_are():
    weights, averaged = dict(a=torch.ones(1)), dict(a=torch.zeros(1))
    prefixed = {'module.a': weights['a']}
    for checkpoint in (
        weights,
        dict(model=weights),
        dict(state_dict=weights, epoch=3),
        prefixed,
        dict(model=prefixed),
    ):
        assert_same(official_weights(checkpoint), weights)
    mixed = {'module.a': torch.ones(1), 'b': torch.ones(1)}
    assert_same(official_weights(mixed), mixed)
    both = dict(model=weights, model_ema={'module.a': averaged['a']})
    assert_same(official_weights(both), weights)
    assert_same(official_weights(both, ema=True), averaged)
    with pytest.raises(ConversionError, match=r"no averaged weights .*holds 'model'"):
        official_weights(dict(model=weights), ema=True)


# ------------------------------------------------------ mmengine's own loader


@pytest.mark.parametrize(
    'version, called', [('0.10.7', True), ('0.10.8', False), ('0.10.12', False)]
)
def test_old_mmengine_gets_its_checkpoints(monkeypatch, version, called):
    calls = []
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', calls.append)
    allow_mmengine_checkpoints(version)
    assert bool(calls) is called


@pytest.fixture
def no_safe_globals():
    """The allowed classes are torch's global state, and mmengine adds some."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_torch_loads_mmengine_checkpoints(no_safe_globals, tmp_path):
    hub = MessageHub('test')
    hub.update_scalar('loss', 1.5)
    torch.save(dict(hub=hub.state_dict(), value=np.float32(2)), tmp_path / 'x.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'x.pth', weights_only=True)
    allow_mmengine_checkpoints('0.10.7')
    loaded = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert loaded['hub']['log_scalars']['loss'].current() == 1.5
