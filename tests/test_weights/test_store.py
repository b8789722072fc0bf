"""Known weights: fetched, verified, converted once, and found again without network."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from fiber_mmdet import caches
from fiber_mmdet.checkpoints import read_checkpoint
from fiber_mmdet.convert import skeleton
from fiber_mmdet.engine.checkpoint_loaders import read_checkpoints_safely
from fiber_mmdet.weights import (
    FetchError,
    StoreError,
    UnknownWeights,
    get_weights,
    local_weights,
    stored_weights,
)
from fiber_mmdet.weights.store import cache_folder, report_of
from known_models import FILE, REPO, SPACE

MAIN = f'/{REPO}/resolve/main/{FILE}'
MIRROR = f'/spaces/{SPACE}/resolve/main/MODEL/{FILE}'


def test_converted_once_and_found_without_network(hub, tiny_config, official_file, capsys):
    path = get_weights('tiny')
    assert path.parent == cache_folder() / 'tiny' and path.suffix == '.safetensors'
    written = read_checkpoint(path)
    model = skeleton(Config.fromfile(tiny_config).model)
    state = written['state_dict']
    assert set(state) == set(model.state_dict())
    published = torch.load(official_file)['model']  # not the average
    key = 'module.fusion_backbone.backbone.body.patch_embed.proj.weight'
    assert torch.equal(state['backbone.image.patch_embed.proj.weight'], published[key])
    assert written['meta']['name'] == 'tiny' and written['meta']['precision'] == 'float32'
    assert '0 unknown' in report_of(path).read_text()
    said = capsys.readouterr().err
    assert 'fetching hf://someone/FIBER' in said and 'converting' in said

    sent = len(hub.requests)
    hub.stop()
    assert get_weights('tiny') == stored_weights('tiny') == path
    assert len(hub.requests) == sent and not capsys.readouterr().err


def test_half_precision_is_made_from_what_is_there(hub):
    whole = get_weights('tiny')
    downloads = hub.contents_sent()
    hub.stop()
    for file in (constants.HF_HUB_CACHE,):
        os.rename(file, f'{file}-gone')
    half = get_weights('tiny', half=True)
    assert half != whole and half.stat().st_size < 0.6 * whole.stat().st_size
    small, large = (read_checkpoint(path)['state_dict'] for path in (half, whole))
    for key, value in large.items():
        assert torch.allclose(small[key].float(), value.float(), rtol=1e-3, atol=1e-6), key
    assert hub.contents_sent() == downloads
    whole.unlink()
    assert stored_weights('tiny') == half and stored_weights('tiny', half=False) is None


def test_the_mirror_is_tried(hub):
    hub.files[MAIN].refuse = 403
    get_weights('tiny')
    assert json.loads((cache_folder() / 'tiny/source.json').read_text())['address'] == (
        f'hf://spaces/{SPACE}/MODEL/{FILE}'
    )


@pytest.mark.parametrize('status', [401, 403, 404])
def test_a_refusal_is_said_once_with_all_addresses(hub, status):
    for path in (MAIN, MIRROR):
        hub.files[path].refuse = status
    with pytest.raises(FetchError) as error:
        get_weights('tiny')
    said = str(error.value)
    assert said.count(f'the host refuses it (HTTP status {status})') == 1
    assert said.count('hf://') == 2 and 'fiber weights get tiny --file PATH' in said
    assert not list(cache_folder().rglob('*.safetensors'))


def test_a_wrong_checksum_is_not_kept(hub):
    for path in (MAIN, MIRROR):
        hub.files[path].corrupt = True
    with pytest.raises(FetchError, match='has the sha256 .* damaged, or another file'):
        get_weights('tiny')
    assert stored_weights('tiny') is None
    hub.files[MAIN].corrupt = False
    assert get_weights('tiny').is_file()  # what was wrong has not stayed


def test_a_wrong_size_is_said(hub, tmp_path, official_file):
    short = tmp_path / 'short.pth'
    short.write_bytes(official_file.read_bytes()[:-5])
    size = official_file.stat().st_size
    with pytest.raises(FetchError, match=f'has {size - 5} bytes, tiny has {size}: it is not com'):
        get_weights('tiny', file=short)


def test_no_network(hub):
    hub.stop()
    with pytest.raises(FetchError, match=r'cannot be reached \(no network\).*--file PATH'):
        get_weights('tiny')


def test_offline_by_choice(hub, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(FetchError, match='HF_HUB_OFFLINE is set'):
        get_weights('tiny')
    assert not hub.requests


def test_a_download_that_breaks_off_goes_on(hub):
    hub.files[MAIN].break_off = 1
    assert get_weights('tiny').is_file()
    assert hub.contents_sent() == 2


def test_a_download_that_never_ends_leaves_nothing(hub, monkeypatch):
    for path in (MAIN, MIRROR):
        hub.files[path].break_off = 99
    with monkeypatch.context() as patch:
        patch.setattr('huggingface_hub.file_download.time.sleep', lambda seconds: None)
        with pytest.raises(FetchError, match='the download broke off'):
            get_weights('tiny')
    assert stored_weights('tiny') is None
    assert not [x for x in Path(constants.HF_HUB_CACHE).rglob('blobs/*') if x.is_file()]


def test_parts_of_killed_downloads_are_removed(hub):
    place = f'{constants.HF_HUB_CACHE}/models--{REPO.replace("/", "--")}/blobs'
    os.makedirs(place)
    old, new = (f'{place}/{"0" * 64}.{name}.incomplete' for name in ('aaaaaaaa', 'bbbbbbbb'))
    for file in (old, new):
        open(file, 'w').close()
    os.utime(old, (time.time() - 3600,) * 2)
    get_weights('tiny')
    assert not os.path.exists(old) and os.path.exists(new)  # a download that still runs


def test_a_full_disk(hub, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=5))
    with pytest.raises(FetchError, match='is full .*set HF_HOME.*FIBER_CACHE'):
        get_weights('tiny')
    assert not hub.contents_sent()


@pytest.mark.parametrize('number', caches.FULL)
def test_a_disk_that_fills_while_writing(number, hub, monkeypatch):
    from safetensors import SafetensorError

    def half(tensors, path, metadata):
        path.write_bytes(b'half')
        raise SafetensorError(f'I/O error: No space left on device (os error {number})')

    with monkeypatch.context() as patch:
        patch.setattr('safetensors.torch.save_file', half)
        with pytest.raises(StoreError, match='is full .*make room'):
            get_weights('tiny')
    folder = cache_folder() / 'tiny'
    assert stored_weights('tiny') is None and not list(folder.glob('.*part'))
    assert get_weights('tiny').is_file() and hub.contents_sent() == 1


def test_a_cache_that_cannot_be_written(hub, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('FIBER_CACHE', str(tmp_path / 'file'))
    with pytest.raises(StoreError, match='cannot be written.*FIBER_CACHE'):
        get_weights('tiny')


def test_a_file_of_the_user(hub, tmp_path, official_file):
    hub.stop()
    copy = tmp_path / 'desk' / 'downloaded.pth'
    copy.parent.mkdir()
    copy.write_bytes(official_file.read_bytes())
    path = get_weights('tiny', file=copy)
    copy.unlink()
    assert get_weights('tiny') == path

    other = tmp_path / 'other.pth'
    content = torch.load(official_file)
    content['iteration'] += 1
    torch.save(content, other)
    with pytest.raises(FetchError, match='another file.*--unverified'):
        get_weights('tiny', file=other)
    assert get_weights('tiny') == path
    assert get_weights('tiny', file=other, unverified=True) != path
    with pytest.raises(StoreError, match='no such file'):
        get_weights('tiny', file=tmp_path / 'gone.pth')


PAGE = b'<!DOCTYPE html><html><title>Sign in</title></html>'


def test_a_file_that_cannot_be_converted_is_not_taken_again(hub, tmp_path):
    other = tmp_path / 'other.pth'
    torch.save(dict(model={'a': torch.ones(2)}), other)
    for _ in range(2):  # before and after there are good weights
        with pytest.raises(ValueError, match='other.pth'):
            get_weights('tiny', file=other, unverified=True)
        assert get_weights('tiny').is_file()
    assert hub.contents_sent() == 1
    other.write_bytes(PAGE)
    with pytest.raises(FetchError, match='is an HTML page') as error:
        get_weights('tiny', file=other, unverified=True)
    assert '--unverified' not in str(error.value)


@pytest.mark.parametrize(
    'name, place',
    [('tiny-unseen', f'/{REPO}/resolve/main/tiny_unseen.pth'), ('tiny-tower', '/towers/tower.pth')],
)
def test_a_page_in_place_of_the_file_is_not_kept(hub, name, place):
    good = hub.files[place].content
    hub.put(place, PAGE)
    with pytest.raises(FetchError, match='is an HTML page, such as hosts send for a login'):
        get_weights(name)
    assert stored_weights(name) is None
    hub.put(place, good)
    assert get_weights(name).is_file()


def test_without_a_known_checksum(hub, capsys):
    path = get_weights('tiny-unseen')
    assert 'no checksum of it is known' in capsys.readouterr().err
    hub.stop()
    assert get_weights('tiny-unseen') == path


def test_a_damaged_cache_is_converted_again(hub):
    path = get_weights('tiny')
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    assert stored_weights('tiny') is None
    assert get_weights('tiny').read_bytes() == content and hub.contents_sent() == 1
    path.write_bytes(content[:-7] + bytes([content[-7] ^ 1]) + content[-6:])
    with pytest.raises(ValueError, match='the tensor .* is damaged'):
        read_checkpoint(path)


def test_a_plain_address_goes_on_where_it_was(hub, official_file):
    file = hub.files['/towers/tower.pth']
    file.break_off = 9
    path = get_weights('tiny-tower')
    assert path.read_bytes() == official_file.read_bytes()
    begun = [int(asked[6:-1]) for _, _, asked in hub.requests if asked]
    assert len(begun) == 9 and begun == sorted(begun)
    hub.stop()
    assert get_weights('tiny-tower') == path


def test_a_plain_address_without_ranges(hub, official_file):
    file = hub.files['/towers/tower.pth']
    file.break_off, file.ranges = 1, False
    assert get_weights('tiny-tower').read_bytes() == official_file.read_bytes()


def test_a_plain_address_that_refuses(hub):
    hub.files['/towers/tower.pth'].refuse = 403
    with pytest.raises(FetchError, match='refuses it .HTTP status 403'):
        get_weights('tiny-tower')
    hub.stop()
    with pytest.raises(FetchError, match='tower.pth: it cannot be reached'):
        get_weights('tiny-tower')


def test_a_folder_of_the_hub(hub):
    hub.files['/someone/words/resolve/main/config.json'].refuse = 403
    with pytest.raises(FetchError, match='give their folder instead'):
        get_weights('tiny-words')
    hub.files['/someone/words/resolve/main/config.json'].refuse = None
    folder = get_weights('tiny-words')
    assert sorted(file.name for file in folder.iterdir()) == ['config.json', 'model.safetensors']
    hub.stop()
    assert stored_weights('tiny-words') == get_weights('tiny-words') == folder


@pytest.mark.parametrize('address', ['fiber://tiny', f'hf://{REPO}/{FILE}'])
def test_mmengine_reads_addresses(hub, address):
    read_checkpoints_safely()
    checkpoint = CheckpointLoader.load_checkpoint(address)
    assert 'state_dict' in checkpoint or 'model' in checkpoint


def test_addresses(hub, tmp_path):
    path = local_weights(f'hf://{REPO}@main/tiny_unseen.pth')
    assert path.name == 'tiny_unseen.pth' and path.is_file()
    assert local_weights(tmp_path / 'a.pth') == tmp_path / 'a.pth'
    for wrong in ('hf://', 'hf:///a', 'hf://a b/c/d'):
        with pytest.raises(FetchError, match='hf://OWNER/REPOSITORY/FILE'):
            local_weights(wrong)
    with pytest.raises(UnknownWeights, match='did you mean tiny'):
        local_weights('fiber://Tinyy')
    with pytest.raises(FetchError, match='none.pth: the host refuses it .HTTP status 404'):
        local_weights(f'hf://{REPO}/none.pth')


@pytest.mark.parametrize('field, value', [('sha256', 5), ('path', None), ('size', 'x')])
def test_a_damaged_record_is_written_again(hub, field, value):
    path = get_weights('tiny')
    record = cache_folder() / 'tiny/source.json'
    for content in (json.dumps({**json.loads(record.read_text()), field: value}), '', '[]'):
        record.write_text(content)
        assert stored_weights('tiny') is None
        assert get_weights('tiny') == path == stored_weights('tiny')
    assert hub.contents_sent() == 1
