"""How tools/quickstart.sh has mmcv's operators compiled."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'quickstart.sh'
LINE = '[{}/2] c++ -Wall {} -fPIC -Iinclude -c -c {}.cpp -o {}.o -std=c++17\n'


def bash(code: str, **env: str) -> subprocess.CompletedProcess:
    """What bash says to ``code`` after it has read the functions of the script."""
    tools = ':'.join([str(Path(sys.executable).parent), '/usr/bin', '/bin'])
    return subprocess.run(
        ['bash', '-c', f'source {SCRIPT}; {code}'],
        capture_output=True,
        text=True,
        env=dict(env, PATH=tools),
    )


def test_flags_of_the_interpreter_are_kept_but_for_debug_information():
    flags = bash('compiler_flags').stdout.split()
    assert {'-O2', '-O3'} & set(flags)
    assert [flag for flag in flags if flag.startswith('-g')] == ['-g0']


@pytest.mark.skipif(shutil.which('c++') is None, reason='needs a C++ compiler')
def test_setuptools_compiles_with_them(tmp_path):
    """Whatever this version of setuptools makes of CXXFLAGS: the log of a build says -O."""
    (tmp_path / 'one.cpp').write_text('int one() { return 1; }\n')
    (tmp_path / 'setup.py').write_text(
        'from setuptools import Extension, setup\n'
        "setup(name='one', ext_modules=[Extension('one', ['one.cpp'], language='c++')])\n"
    )
    build = 'python setup.py build_ext --build-temp {0} --build-lib {0} >{0}.log 2>&1'
    optimised = (
        f'cd {tmp_path}; flags=$(compiler_flags); CFLAGS=$flags CXXFLAGS=$flags {build}; '
        'check_optimised {0}.log && echo optimised'
    )
    assert 'optimised' in bash(optimised.format('with')).stdout
    plain = (
        f'cd {tmp_path}; CFLAGS=-g0 CXXFLAGS=-O0 {build}; check_optimised {{0}}.log || echo slow'
    )
    assert 'slow' in bash(plain.format('without')).stdout


@pytest.mark.parametrize(
    'levels, good',
    [
        (['-O3', '-O2'], True),
        (['-O3', ''], False),
        (['-O3', '-O0'], False),
        (['-O3 -O0', '-O3'], False),
        ([], False),
    ],
)
def test_log_tells_whether_all_files_were_optimised(tmp_path, levels, good):
    log = tmp_path / 'build.log'
    log.write_text(''.join(LINE.format(i, level, i, i) for i, level in enumerate(levels)))
    assert (bash(f'check_optimised {log}').returncode == 0) is good


def test_cached_wheels_of_the_slow_kind_have_another_name():
    assert '-optimised-' in SCRIPT.read_text()


@pytest.mark.parametrize(
    'url, old',
    [
        (
            'file:///home/a/.cache/fiber_mmdet/onedl-mmcv-2.3.6-cp311-torch2.13.0-x86_64-cpu/a.whl',
            True,
        ),
        ('file:///c/onedl-mmcv-2.3.6-cp311-torch2.13.0-x86_64-optimised-cpu/a.whl', False),
        ('file:///wheels/a.whl', False),
    ],
)
def test_installed_operators_of_the_slow_kind_are_known(tmp_path, url, old):
    info = tmp_path / 'onedl_mmcv-2.3.6.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: onedl-mmcv\nVersion: 2.3.6\n')
    (info / 'direct_url.json').write_text(f'{{"url": "{url}"}}')
    found = bash('made_without_optimisation', PYTHONPATH=str(tmp_path))
    assert (found.returncode == 0) is old, found.stderr


def test_progress_gives_a_remaining_time(tmp_path):
    log = tmp_path / 'build.log'
    log.write_text('[1/78] c++ a\n[39/78] c++ b\n')
    said = bash(f'progress {log} "" 60 ""').stdout
    assert 'compiled 39/78' in said and 'about 90 s left' in said


def test_the_demo_shows_both_packaged_models():
    """Its arguments, if there are any, are those of the detector's demo, which runs alone then."""
    ran = 'set_up() { :; }; python() { echo "${@##*/}"; }; main demo'
    assert bash(ran).stdout.split('\n')[:-1] == ['demo.py', 'demo_image_text.py overview']
    done = bash(f'{ran} photo.jpg star')
    assert done.stdout == 'demo.py photo.jpg star\n' and done.returncode == 0
    failed = bash('set_up() { :; }; python() { return 3; }; main demo')
    assert failed.returncode == 3
