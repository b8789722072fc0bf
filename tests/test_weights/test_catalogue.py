"""The table of known weights: sound, and complete."""

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from fiber_mmdet.weights import UnknownWeights, find_known, known_weights
from fiber_mmdet.weights.addresses import model_named, named
from fiber_mmdet.weights.catalogue import IMAGE_TEXT, PACKAGED, read_table
from fiber_mmdet.weights.fetch import hub_place

CHECKOUT = Path(__file__).resolve().parents[2]
REFUSED = 'https://datarelease.blob.core.windows.net/fiber/'


def test_the_original_files_are_marked():
    refused = [known for known in known_weights().values() if known.state == 'refused']
    assert len(refused) == 17
    files = {known.addresses[0].removeprefix(REFUSED) for known in refused}
    assert len(files) == 17
    assert all(re.fullmatch(r'(coarse|fine)_grained/fiber_[\w%]+\.(pth|pt|ckpt)', x) for x in files)


def test_the_public_detector():
    known = find_known('desco-fiber-b')
    assert known.size == 4_037_645_571 and known.sha256.startswith('8ca67988e712d901')
    places = [hub_place(address) for address in known.addresses]
    assert [(x.kind, x.repo, x.file) for x in places] == [
        ('model', 'harold/DesCo', 'desco_fiber_base.pth'),
        ('space', 'zdou0830/desco', 'MODEL/desco_fiber_base.pth'),
    ]


def test_models_have_configs_of_their_kind():
    for known in known_weights().values():
        if not known.is_model:
            continue
        model = Config.fromfile(known.config_file()).model
        if known.name in PACKAGED:
            assert (CHECKOUT / 'configs' / known.config).is_file(), known.config
        if known.layout == 'coarse' or known.name == IMAGE_TEXT:
            assert model.type == 'FIBERForVL', known.name
        else:
            assert model.type == 'FIBERDetector', known.name
            norm = known.task == 'referring expressions'
            assert bool(model.backbone.get('i2t_norm', False)) == norm, known.name


def test_names_that_are_not_known():
    with pytest.raises(UnknownWeights, match="'desco_fiber': did you mean desco-fiber-b"):
        find_known('desco_fiber')
    with pytest.raises(UnknownWeights, match="'qwerty'. All names: fiber weights list"):
        find_known('qwerty')
    with pytest.raises(
        UnknownWeights, match='swin-b is not a complete model.*fiber weights get swin-b'
    ):
        model_named('swin-b')


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named('fiber-mini').name == 'fiber-mini'
    (tmp_path / 'fiber-mini').write_text('')
    assert named('fiber-mini') is None and named('fiber://fiber-mini') is not None
    assert named(None) is None and named('no/such.py') is None


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(sha256='abc'), 'has sha256 .*64 hexadecimal digits'),
        (dict(state='maybe'), 'has state .*one of packaged'),
        (dict(addresses=['ftp://x']), 'has addresses'),
        (dict(addresses=[]), 'has no address'),
        (dict(name='Two Words'), 'has name'),
        (dict(colour='red'), 'not known: colour'),
        (dict(published=[dict(metric='AP')]), 'published|benchmark'),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, change, said):
    record = dict(
        name='a',
        what='b',
        task='c',
        config=None,
        layout='fine',
        addresses=['hf://a/b/c'],
        size=None,
        sha256=None,
        licence=None,
        state='listed',
        evidence='d',
        published=[],
    )
    file = tmp_path / 'known.json'
    file.write_text(json.dumps([record]))
    assert read_table(file)['a'].addresses == ('hf://a/b/c',)
    file.write_text(json.dumps([{**record, **change}]))
    with pytest.raises(ValueError, match=said) as error:
        read_table(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    'address, place',
    [
        ('hf://a/b/c/d.pth', ('a/b', 'model', 'main', 'c/d.pth')),
        ('hf://models/a/b@v1/c', ('a/b', 'model', 'v1', 'c')),
        ('hf://datasets/a/b/c', ('a/b', 'dataset', 'main', 'c')),
        ('hf://roberta-base', ('roberta-base', 'model', 'main', '')),
    ],
)
def test_addresses_of_the_hub(address, place):
    found = hub_place(address)
    assert (found.repo, found.kind, found.revision, found.file) == place


PAGES = [*sorted((CHECKOUT / 'docs').rglob('*.md')), CHECKOUT / 'README.md']


def test_the_pages_name_known_weights():
    callers = r'--model |weights\.py (?:get|where|check) |FIBERInferencer\(\''
    pattern = rf'(?:fiber://(?!configs/|scene\b)|{callers})([a-z][\w-]+)'
    found = {
        name
        for page in PAGES
        if page.name != 'performance.md'  # there, --model is the benchmark's
        for name in re.findall(pattern, page.read_text(encoding='utf-8'))
    }
    assert 'desco-fiber-b' in found and found <= set(known_weights())
