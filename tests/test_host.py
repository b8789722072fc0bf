"""The host check: what it finds, what it says, and that it finds out without importing the host."""

import sys
from importlib import machinery
from pathlib import Path

import pytest

from fiber_mmdet import host

GOOD = dict(
    mmengine='0.10.12',
    mmcv='2.3.6',
    mmdet='3.5.1',
    mmcv_ops=True,
    mmcv_bounds=None,
    distributions={
        'onedl-mmengine': '0.10.12',
        'onedl-mmcv': '2.3.6',
        'onedl-mmdetection': '3.5.1',
    },
)
UPSTREAM = dict(
    mmengine='0.10.7',
    mmcv='2.1.0',
    mmdet='3.3.0',
    mmcv_ops=True,
    mmcv_bounds=('2.0.0rc4', '2.2.0'),
    distributions={'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'},
)


@pytest.mark.parametrize('facts', [GOOD, UPSTREAM], ids=['onedl', 'openmmlab'])
def test_good_hosts_pass(facts):
    assert host.diagnose(facts) == []


def test_unknown_versions_pass():
    assert host.diagnose(dict(GOOD, mmengine='', mmcv='', mmdet='', distributions={})) == []


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(mmdet=None), ['mmdet is not installed']),
        (dict(mmengine=None), ['mmengine is not installed']),
        (dict(mmcv=None, mmcv_ops=False), ['mmcv is not installed']),
        (dict(mmcv_ops=False), ['without its compiled operators', 'mmcv._ext']),
        (dict(mmdet='2.28.2'), ['mmdet 2.28.2', 'at least 3.3']),
        (dict(mmdet='4.0.0'), ['mmdet 4.0.0', 'less than 4']),
        (dict(mmcv='1.7.2'), ['mmcv 1.7.2', 'fiber_mmdet accepts']),
        (
            dict(mmcv_bounds=('2.0.0rc4', '2.2.0'), mmdet='3.3.0'),
            ['mmcv 2.3.6', 'mmdet 3.3.0 accepts', 'less than 2.2.0'],
        ),
        (
            dict(distributions={'mmcv': '2.1.0', 'onedl-mmcv': '2.3.6'}),
            ['together', 'pip uninstall -y onedl-mmcv mmcv'],
        ),
    ],
)
def test_each_fault_is_named_once(changes, words):
    problems = host.diagnose(dict(GOOD, **changes))
    assert len(problems) == 1
    for word in words:
        assert word in problems[0]


def test_check_host_says_what_and_how(monkeypatch):
    monkeypatch.setattr(host, 'collect', lambda: dict(GOOD, mmcv=None, mmcv_ops=False, mmdet=None))
    with pytest.raises(host.HostStackError) as error:
        host.check_host()
    message = str(error.value)
    assert isinstance(error.value, ImportError)
    assert 'mmcv is not installed' in message and 'mmdet is not installed' in message
    assert '--no-build-isolation' in message and 'onedl-mmcv' in message


def test_recipe_follows_the_family_at_hand():
    assert host.recipe({}) is host.ONEDL_RECIPE
    assert host.recipe(GOOD['distributions']) is host.ONEDL_RECIPE
    assert host.recipe({'mmdet': '3.3.0'}) is host.OPENMMLAB_RECIPE
    assert host.recipe({'mmdet': '3.3.0', 'onedl-mmcv': '2.3.6'}) is host.ONEDL_RECIPE


def test_ops_are_found_by_file(tmp_path):
    assert not host.has_ops(tmp_path)
    (tmp_path / f'_ext{machinery.EXTENSION_SUFFIXES[0]}').touch()
    assert host.has_ops(tmp_path)


def test_bare_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path / 'a_clone').mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert host.package_dir('a_clone') is None
    (tmp_path / 'a_clone' / '__init__.py').touch()
    assert host.package_dir('a_clone') == tmp_path / 'a_clone'


def fake_upstream(folder: Path) -> None:
    """Packages that must not be imported, with the files of upstream's that the check reads."""
    for name, version in (('mmengine', '0.10.7'), ('mmcv', '2.2.0'), ('mmdet', '3.3.0')):
        package = folder / name
        package.mkdir()
        (package / 'version.py').write_text(f"__version__ = '{version}'\n")
        (package / '__init__.py').write_text(
            "mmcv_minimum_version = '2.0.0rc4'\nmmcv_maximum_version = '2.2.0'\n"
            "raise AssertionError('imported')\n"
        )
    (folder / 'mmcv' / f'_ext{machinery.EXTENSION_SUFFIXES[0]}').touch()


def test_collect_reads_without_importing(tmp_path, monkeypatch):
    fake_upstream(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [key for key in sys.modules if key.split('.')[0] in host.OWNERS]:
        monkeypatch.delitem(sys.modules, name)
    facts = host.collect()
    assert [facts[name] for name in host.OWNERS] == ['0.10.7', '2.2.0', '3.3.0']
    assert facts['mmcv_ops'] and facts['mmcv_bounds'] == ('2.0.0rc4', '2.2.0')
    assert any('mmcv 2.2.0' in problem for problem in host.diagnose(facts))


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    assert host.need_extra('sys', 'none', 'this') is sys
    with pytest.raises(
        host.MissingExtra, match=r'a table needs no_such_thing.*fiber_mmdet\[tables'
    ):
        host.need_extra('no_such_thing.inside', 'tables', 'a table')
    (tmp_path / 'half_there.py').write_text('import no_such_thing')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        host.MissingExtra, match='half_there, which fails: No module named .no_such'
    ):
        host.need_extra('half_there', 'tables', 'a table')


def test_notices_about_optional_packages_are_left_out_and_nothing_else(capsys):
    with host.without_notices():
        print('Could not import OneDL. Skipping OneDL datasets.')
        print('something', end=' ')
        print('else')
        print('unfinished', end='')
    assert capsys.readouterr().out == 'something else\nunfinished'


@pytest.mark.parametrize(
    'machine, torch_accepts, units, expected',
    [
        ('x86_64', True, (True, False), True),
        ('x86_64', True, (False, True), True),
        ('x86_64', True, (False, False), False),  # AVX-512 alone converts every operand
        ('AMD64', False, (False, False), False),
        ('aarch64', True, (False, False), True),
        ('aarch64', False, (False, False), False),
    ],
)
def test_bfloat16_is_fast_where_a_unit_multiplies_it(
    monkeypatch, machine, torch_accepts, units, expected
):
    torch = pytest.importorskip('torch')
    monkeypatch.setattr(host.platform, 'machine', lambda: machine)
    monkeypatch.setattr(
        torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: torch_accepts, raising=False
    )
    for name, has_unit in zip(host.BFLOAT16_UNITS, units):
        monkeypatch.setattr(torch.cpu, name, lambda answer=has_unit: answer, raising=False)
    assert host.has_bfloat16_products() is expected
    assert host.has_bfloat16_products('xpu')
