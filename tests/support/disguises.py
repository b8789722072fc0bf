"""Checkpoint files that a stranger may send: each wants code to be run, or cannot be weights."""

import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from mmengine.logging import HistoryBuffer

KEY = 'backbone.image.patch_embed.projection.weight'


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof):
        self.proof = str(proof)

    def __reduce__(self):
        return os.mkdir, (self.proof,)


class HarmfulState(dict):
    """The same, by what restores its state."""

    def __init__(self, proof):
        super().__init__()
        self.proof = str(proof)

    def __reduce__(self):
        return os.system, (f'mkdir {self.proof}',)


def training(weights=None, **more):
    """What mmengine saves of a training."""
    weights = {KEY: torch.zeros(2, 3, 4, 4)} if weights is None else weights
    hub = dict(
        log_scalars={'train/loss': HistoryBuffer([1.0], [1])},
        runtime_info=dict(iter=1, epoch=1),
        resumed_keys={'train/loss': True},
    )
    content = dict(
        meta=dict(epoch=1, iter=1, seed=0),
        state_dict=OrderedDict(weights),
        message_hub=hub,
        optimizer=dict(state={}, param_groups=[]),
        param_schedulers=[],
    )
    return {**content, **more}


def nested(inner, depth):
    for i in range(depth):
        inner = [inner] if i % 2 else {'x': inner}
    return inner


def save(content, path, **kwargs):
    torch.save(content, path, **kwargs)


def rewritten(path, change):
    """Write a zip archive anew, its records changed by ``change(name, content)``."""
    with zipfile.ZipFile(path) as file:
        records = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, 'w') as file:
        for name, content in records.items():
            content, kind = change(name, content)
            file.writestr(name, content, compress_type=kind)


def mutations(count, seed):
    """Files of a training, changed at random: the file, the old format, the pickle within."""
    draw = random.Random(seed)
    state = {KEY: torch.ones(2, 3, 4, 4), 'b': torch.ones(2)}
    files = []
    for zipped in (True, False):
        memory = io.BytesIO()
        torch.save(training(state), memory, _use_new_zipfile_serialization=zipped)
        files.append(memory.getvalue())
    with zipfile.ZipFile(io.BytesIO(files[0])) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    for number in range(count):
        if number % 3 < 2:
            yield mutated(files[number % 3], draw)
            continue
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, 'w') as archive:
            for name, content in records.items():
                archive.writestr(name, mutated(content, draw) if name.endswith('.pkl') else content)
        yield memory.getvalue()


def mutated(content, draw):
    """Bytes with up to eight of them flipped, replaced, removed, added or moved."""
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place, kind = draw.randrange(len(content)), draw.randrange(5)
        if kind == 0:
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[place] = draw.randrange(256)
        elif kind == 2:
            del content[place : place + draw.randrange(1, 9)]
        elif kind == 3:
            content[place:place] = draw.randbytes(draw.randrange(1, 9))
        else:
            other = draw.randrange(len(content))
            content[place : place + 4] = content[other : other + 4]
    return bytes(content)


# ------------------------------------------------------------ that run code
def in_place(where):
    def write(path, proof):
        harmful = Harmful(proof)
        save(training(**{where: nested(harmful, 1)}), path)

    return write


def at_depth(depth):
    return lambda path, proof: save(training(extra=nested(Harmful(proof), depth)), path)


def in_meta(path, proof):
    save(training(meta=dict(epoch=1, iter=1, seed=Harmful(proof))), path)


def in_hub(path, proof):
    hub = training()['message_hub']
    save(training(message_hub=dict(hub, runtime_info=dict(best=HarmfulState(proof)))), path)


def in_optimizer(path, proof):
    save(training(optimizer=dict(state={0: dict(step=Harmful(proof))}, param_groups=[])), path)


def in_weights(path, proof):
    save(training({KEY: torch.zeros(1), 'other': Harmful(proof)}), path)


def as_key(path, proof):
    class Key(Harmful):
        __hash__ = object.__hash__

    Key.__qualname__ = Key.__name__ = 'Harmful'
    save(training({KEY: torch.zeros(1)}, extra={Harmful(proof): 1}), path)


def legacy_pickle(path, proof):
    save(training(extra=Harmful(proof)), path, _use_new_zipfile_serialization=False)


def bare_pickle(path, proof):
    path.write_bytes(pickle.dumps(dict(state_dict=Harmful(proof))))


def legacy_tar(path, proof):
    with tarfile.open(path, 'w') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            content = pickle.dumps(Harmful(proof))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))


def second_pickle(path, proof):
    """Harmless to its first end, the attack behind it."""
    save(training(), path)
    rewritten(
        path,
        lambda name, content: (
            content + pickle.dumps(Harmful(proof)) if name.endswith('.pkl') else content,
            zipfile.ZIP_STORED,
        ),
    )


def config_text(path, proof):
    """Plain data, which mmengine's Runner runs as Python when it resumes."""
    text = f'import os\nos.makedirs({str(proof)!r}, exist_ok=True)\nmodel = dict()\n'
    meta = dict(epoch=1, iter=1, seed=0, config=text, cfg=text)
    save(training(meta=meta), path)


RUNS_CODE = dict(
    in_meta=in_meta,
    in_hub=in_hub,
    in_optimizer=in_optimizer,
    in_weights=in_weights,
    as_key=as_key,
    in_schedulers=in_place('param_schedulers'),
    in_averages=in_place('ema_state_dict'),
    in_extras=in_place('official_extras'),
    deep_2=at_depth(2),
    deep_40=at_depth(40),
    legacy_pickle=legacy_pickle,
    bare_pickle=bare_pickle,
    legacy_tar=legacy_tar,
)


# ------------------------------------------------- that cannot be weights
def weights(change):
    """A file whose weights are changed: ``change(state)`` returns them."""
    return lambda path, proof: save(training(change({KEY: torch.ones(2, 3, 4, 4)})), path)


def with_key(key):
    return weights(lambda state: {**state, key: torch.ones(1)})


def with_tensor(make):
    return weights(lambda state: {**state, 'other.weight': make()})


def quantized():
    return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)


def huge_stride(path, proof):
    """A pickle that asks for a view of more than is stored."""
    save(training(), path)

    def change(name, content):
        # the sizes (2, 3, 4, 4) become (200, 3, 4, 4)
        changed = content.replace(b'K\x02K\x03K\x04K\x04t', b'K\xc8K\x03K\x04K\x04t')
        assert not name.endswith('.pkl') or changed != content
        return changed, zipfile.ZIP_STORED

    rewritten(path, change)


def zip_bomb(path, proof):
    save(training(), path)
    rewritten(
        path,
        lambda name, content: (
            bytes(50_000_000) if name.endswith('data/0') else content,
            zipfile.ZIP_DEFLATED,
        ),
    )


def flipped(path, proof):
    """One bit of the largest record."""
    save(training({KEY: torch.ones(64, 64)}), path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(torch.ones(64).numpy().tobytes())) + 4001] ^= 16
    path.write_bytes(content)


def hole(path, proof):
    save(training({KEY: torch.ones(64, 64)}), path)
    content = bytearray(path.read_bytes())
    start = content.index(bytes(torch.ones(64).numpy().tobytes()))
    content[start + 512 : start + 1024] = bytes(512)
    path.write_bytes(content)


def truncated(path, proof):
    save(training({KEY: torch.ones(64, 64)}), path)
    path.write_bytes(path.read_bytes()[:-3000])


def empty(path, proof):
    path.write_bytes(b'')


def text_file(path, proof):
    path.write_text('Please log in to download this file.')


def false_header(length=None, **row):
    """A safetensors file whose header says what is not so."""

    def write(path, proof):
        table = {KEY: dict(dict(dtype='F32', shape=[2], data_offsets=[0, 8]), **row)}
        header = json.dumps(table).encode()
        path.write_bytes(struct.pack('<Q', length or len(header)) + header + bytes(8))

    return write


def list_file(path, proof):
    save([torch.ones(1)], path)


CANNOT_BE_WEIGHTS = dict(
    key_number=with_key(3),
    key_none=with_key(None),
    key_tuple=with_key(('a', 'b')),
    key_bytes=with_key(b'a'),
    key_float=with_key(0.5),
    key_true=with_key(True),
    sparse=with_tensor(lambda: torch.eye(3).to_sparse()),
    sparse_rows=with_tensor(lambda: torch.eye(3).to_sparse_csr()),
    quantized=with_tensor(quantized),
    meta=with_tensor(lambda: torch.ones(3, device='meta')),
    complex=with_tensor(lambda: torch.ones(3, dtype=torch.complex64)),
    expanded=with_tensor(lambda: torch.ones(1).expand(10**12)),
    nan=with_tensor(lambda: torch.tensor([1.0, float('nan')])),
    infinite=with_tensor(lambda: torch.tensor([1.0, -float('inf')], dtype=torch.float16)),
    no_tensor=weights(lambda state: {**state, 'other.weight': 'text'}),
    no_weights=weights(lambda state: {}),
    huge_stride=huge_stride,
    zip_bomb=zip_bomb,
    flipped=flipped,
    hole=hole,
    truncated=truncated,
    empty=empty,
    text_file=text_file,
    list_file=list_file,
    false_length=false_header(length=10**15),
    false_table=false_header(shape=[3]),
)


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """The file of a disguise, and the folder that it makes if it succeeds."""
    path, proof = folder / f'{name}.pth', folder / 'proof'
    {**RUNS_CODE, **CANNOT_BE_WEIGHTS}[name](path, proof)
    return path, proof
