#!/usr/bin/env bash
# From a checkout to a tested environment, in one command:
#
#   bash tools/quickstart.sh setup            make the environment, nothing else
#   bash tools/quickstart.sh demo             and draw what the packaged models find in a scene and say about another
#   bash tools/quickstart.sh demo args...     and run tools/demo.py with these arguments
#   bash tools/quickstart.sh test [args...]   and run the tests, a process per core (args are pytest's)
#   bash tools/quickstart.sh test --full      and run those too that take long (see pyproject.toml)
#   bash tools/quickstart.sh extras           and install all extras: web page, export, tables, notebook, site
#   bash tools/quickstart.sh lint             and run the checks of style, types and spelling
#
# The first run compiles mmcv's operators (2 to 20 minutes); the wheel is kept, so that it happens once per machine.
# Later runs find everything in place and take seconds. A torch that is already there is kept: for a build of your own,
# `python3.11 -m venv .venv`, install it there, then run this.
#
#   FIBER_ENV=active    use the active `python` instead of a .venv in the checkout
#   PYTHON=...          the interpreter to make .venv with
#   FIBER_WHEEL_CACHE   where compiled wheels are kept (default: ~/.cache/fiber_mmdet)
#   MAX_JOBS            compilers at a time (default: one per CPU; each takes up to 1 GB)
set -euo pipefail

TORCH=2.13.0
MMCV=2.3.6
PYTHONS='3.11 to 3.13'  # what requirements/pinned.txt has wheels for

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${FIBER_WHEEL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/fiber_mmdet}
BUILD=  # process group of a running compilation
trap '[ -z "$BUILD" ] || kill -- "-$BUILD" 2>/dev/null || true' EXIT

die() {
    printf '\nerror: %s\n' "$1" >&2
    exit 1
}

step() {  # step "what" command...
    local what=$1 start=$SECONDS
    shift
    echo "== $what"
    "$@"
    echo "   $((SECONDS - start)) s"
}

pip_install() {
    python -m pip install -q --disable-pip-version-check "$@" ||
        die "pip failed (see above). Is the package index reachable? A mirror is named by PIP_INDEX_URL."
}

fits() {  # whether this interpreter is one the pinned set-up can run on
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

make_venv() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if fits "$candidate"; then
            "$candidate" -m venv "$ROOT/.venv" && return
            rm -rf "$ROOT/.venv"
            die "$candidate cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
        fi
    done
    die "no Python $PYTHONS found; install one, or name it: PYTHON=/path/to/python3.11 bash tools/quickstart.sh ..."
}

enter_environment() {
    local python=python scripts
    if [ "${FIBER_ENV:-}" = active ]; then
        command -v python >/dev/null || die 'FIBER_ENV=active, but there is no `python` on the PATH.'
    else
        [ -x "$ROOT/.venv/bin/python" ] || step "environment $ROOT/.venv" make_venv
        export VIRTUAL_ENV="$ROOT/.venv"
        python=$ROOT/.venv/bin/python
    fi
    # The compilation finds ninja by the PATH.
    scripts=$("$python" -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
    export PATH="$scripts:$PATH"
    fits python || die "this is $(python -V 2>&1); the tested set-up needs $PYTHONS. INSTALL.md has the ranges."
    python -m pip --version >/dev/null 2>&1 || python -m ensurepip >/dev/null 2>&1 ||
        die "the environment of $(command -v python) has no pip."
}

state() {  # a hash of everything that decides whether there is something to do
    python - "$ROOT" <<'PY'
import hashlib, sys, sysconfig
from importlib import metadata
from pathlib import Path

def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

root = Path(sys.argv[1])
files = [root / 'setup.py', root / 'pyproject.toml', root / 'tools/quickstart.sh', *sorted(root.glob('requirements/*'))]
names = ['torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'transformers', 'fiber_mmdet']
ops = any(Path(sysconfig.get_path('platlib')).glob('mmcv/_ext*'))
facts = [str(root), sys.version, ops, *map(version, names), *(file.read_bytes() for file in files)]
print(hashlib.sha256(repr(facts).encode()).hexdigest())
PY
}

check_rivals() {
    local rivals
    rivals=$(python - <<'PY'
from importlib import metadata
names = {dist.metadata['Name'] for dist in metadata.distributions()}
print(' '.join(sorted(names & {'mmengine', 'mmengine-lite', 'mmcv', 'mmcv-lite', 'mmcv-full', 'mmdet'})))
PY
    )
    [ -z "$rivals" ] || die "this environment holds $rivals, which share their folders with the onedl-* packages that this
script installs. Leave FIBER_ENV unset for an environment of its own, or keep yours and see INSTALL.md (extra [openmmlab])."
}

install_torch() {
    python -c 'import torch' 2>/dev/null || pip_install "torch==$TORCH"
    python -W ignore -c 'import torch; print("   torch", torch.__version__)'
}

install_pinned() {
    pip_install -r "$ROOT/requirements/pinned.txt"
    # Of the two opencv distributions the one with windows wins, and does not load on machines without libGL.
    python -c 'import cv2' 2>/dev/null || pip_install --force-reinstall --no-deps \
        "$(grep '^opencv-python-headless==' "$ROOT/requirements/pinned.txt")"
}

ops_work() {
    python -W ignore -c 'from mmcv.ops import nms, ModulatedDeformConv2d' >/dev/null 2>&1
}

has_ops() {  # whether a wheel holds compiled operators
    python - "$1" <<'PY'
import sys, zipfile
sys.exit(not any(name.startswith('mmcv/_ext.') for name in zipfile.ZipFile(sys.argv[1]).namelist()))
PY
}

wheel_in() {  # the wheel in a folder, or nothing
    [ ! -d "$1" ] || find "$1" -maxdepth 1 -name '*.whl' | head -n 1
}

need_compiler() {  # $1: cuda or cpu
    local packages='  Debian, Ubuntu: apt install g++ python3-dev
  Fedora:         dnf install gcc-c++ python3-devel
  macOS:          xcode-select --install'
    command -v "${CXX:-c++}" >/dev/null ||
        die "mmcv's operators have to be compiled and there is no C++ compiler (${CXX:-c++}):
$packages"
    python -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        die "mmcv's operators have to be compiled and Python's headers (Python.h) are missing:
$packages"
    [ "$1" = cpu ] || python -W ignore -c '
import sys, torch
from torch.utils import cpp_extension
sys.exit(not (cpp_extension.ROCM_HOME if torch.version.hip else cpp_extension.CUDA_HOME))' 2>/dev/null ||
        die "this torch sees a GPU, so mmcv's operators are compiled for it, and the compiler (nvcc) is missing. Either
  - install the CUDA toolkit of torch's CUDA version and set CUDA_HOME, or
  - install a ready-made mmcv: pip install onedl-mim && mim install onedl-mmcv==$MMCV, then run this again, or
  - do without the GPU: put CUDA_VISIBLE_DEVICES= in front of this command."
}

remedy() {  # what the end of a failed build's log suggests
    case $(tail -n 200 "$1") in
        *'terminated program'* | *'Killed'*) echo 'The compiler ran out of memory. Try again with MAX_JOBS=1.' ;;
        *'No space left'*) echo 'The disk is full. The build needs about 1 GB in TMPDIR (/tmp).' ;;
        *'Python.h'*) echo "Python's headers are missing: install python3-dev (python3-devel)." ;;
        *CUDA_HOME* | *'mismatches the version that was used'*)
            echo "The CUDA toolkit is missing or not of torch's CUDA version. Set CUDA_HOME, or build for the CPU only" \
                'with CUDA_VISIBLE_DEVICES= in front of this command.' ;;
        *'No matching distribution'* | *'name resolution'* | *'Max retries'*)
            echo 'The package index could not be reached. A mirror is named by PIP_INDEX_URL.' ;;
        *) echo 'The first "error:" in the log is usually the cause.' ;;
    esac
}

progress() {  # $1 log, $2 before, $3 seconds so far, $4 after
    local count done total rest=''
    count=$(grep -oE '\[[0-9]+/[0-9]+\]' "$1" 2>/dev/null | tail -n 1 | tr -d '[]') || true
    if [ -n "$count" ]; then
        done=${count%/*} total=${count#*/}
        # The last steps (bindings, linking) take longer than the average file.
        rest=$(($3 * (total - done) / done + 15))
        rest=", about $(((rest + 29) / 30 * 30)) s left"
    fi
    printf '%s   %d:%02d  compiled %s%s%s' "$2" $(($3 / 60)) $(($3 % 60)) "${count:-nothing yet}" "$rest" "$4"
}

compiler_flags() {
    # Since setuptools 80, CFLAGS and CXXFLAGS replace the interpreter's own flags, -O3 and -DNDEBUG among them, instead
    # of adding to them. So they are said again, without debug information, which is half of the time and most of the size.
    python -c '
import sysconfig
flags = [flag for flag in (sysconfig.get_config_var("CFLAGS") or "").split() if not flag.startswith("-g")]
if not any(flag in ("-O2", "-O3") for flag in flags):
    flags.append("-O3")
print(*flags, "-g0")'
}

check_optimised() {  # $1: log of a build; whether every compilation of C++ in it was optimised
    python - "$1" <<'PY'
import re, sys
lines = [line.split() for line in open(sys.argv[1], errors='replace') if re.search(r' -c \S+\.(cpp|cc) ', line)]
levels = [[word for word in line if re.fullmatch('-O.?', word)] for line in lines]
sys.exit(not lines or any(not found or found[-1] not in ('-O2', '-O3') for found in levels))
PY
}

precompiled_header() {  # $1: folder, $2: flags; prints the flags that use it, nothing if it cannot be made
    # Parsing torch's headers is nine tenths of compiling a file. With other flags than the file's, or another compiler,
    # the precompiled header is passed over and the plain one beside it is read.
    local include
    mkdir -p "$1"
    echo '#include <torch/types.h>' >"$1/torch_types.h"
    include=$(python -W ignore -c '
import sysconfig
from torch.utils.cpp_extension import include_paths
print(*(f"-I{path}" for path in [*include_paths("cpu"), sysconfig.get_path("include")]))' 2>/dev/null) || return 0
    # shellcheck disable=SC2086
    "${CXX:-c++}" $2 -fPIC $include -std=c++17 -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_ext \
        -x c++-header "$1/torch_types.h" -o "$1/torch_types.h.gch" >/dev/null 2>&1 || return 0
    echo "-I$1 -include torch_types.h"
}

compile_mmcv() {  # $1: folder for the wheel, $2: cuda or cpu
    need_compiler "$2"
    mkdir -p "$1"
    local jobs log="$1/build.log" made="$1/new" start=$SECONDS last=$SECONDS every=15 before='' after=$'\n' status=0
    local headers="$1/headers" flags header=''
    jobs=${MAX_JOBS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)}
    if [ -t 1 ]; then every=1 before=$'\r' after='  '; fi
    echo "   compiling mmcv's operators ($2, $jobs at a time): 2 to 20 minutes, longer for a GPU"
    echo "   log: $log"
    rm -rf "$made"
    flags=$(compiler_flags)
    [ "$2" != cpu ] || header=$(precompiled_header "$headers" "$flags ${CXXFLAGS:-}")
    # Without isolation, or the build cannot see torch and makes an mmcv without operators; without pip's cache, or pip
    # may serve such an mmcv from an earlier attempt.
    set -m  # a process group of its own, so that the compilers can be stopped with it
    # torch's builder gives CFLAGS to C++, too (all of mmcv's operators are C++), and newer ones CXXFLAGS.
    MAX_JOBS=$jobs CFLAGS="$flags ${CFLAGS:-} $header" CXXFLAGS="$flags ${CXXFLAGS:-} $header" python -m pip wheel -v \
        --disable-pip-version-check --no-deps --no-cache-dir --no-build-isolation \
        -w "$made" "onedl-mmcv==$MMCV" >"$log" 2>&1 </dev/null &
    BUILD=$!
    set +m
    while kill -0 "$BUILD" 2>/dev/null; do
        sleep 1
        if ((SECONDS - last >= every)); then
            last=$SECONDS
            progress "$log" "$before" $((SECONDS - start)) "$after"
        fi
    done
    wait "$BUILD" || status=$?
    BUILD=
    rm -rf "$headers"
    [ ! -t 1 ] || echo
    if [ "$status" != 0 ]; then
        tail -n 25 "$log" >&2
        die "compiling mmcv failed. $(remedy "$log")
The whole log: $log"
    fi
    local wheel
    wheel=$(wheel_in "$made")
    has_ops "$wheel" || die "the build made $(basename "$wheel"), an mmcv without operators: it did not see torch.
The whole log: $log"
    check_optimised "$log" || die "the operators were compiled without optimisation, which makes them up to three times
slower. Unset CFLAGS and CXXFLAGS, or give -O3 in them. The whole log: $log"
    mv -f "$wheel" "$1/"
    rm -rf "$made"
}

made_without_optimisation() {  # whether this mmcv comes from a wheel of an earlier version of this script
    python - <<'PY'
import json, sys
from importlib import metadata
try:
    source = json.loads(metadata.distribution('onedl-mmcv').read_text('direct_url.json') or '{}').get('url', '')
except metadata.PackageNotFoundError:
    source = ''
folder = source.split('/')[-2] if source.count('/') > 1 else ''
sys.exit(not folder.startswith('onedl-mmcv-') or '-optimised-' in folder)
PY
}

install_mmcv() {
    if ops_work && made_without_optimisation; then
        echo '   here, but compiled without optimisation by an earlier version of this script: making it anew'
    elif ops_work; then
        echo '   already here, operators load'
        return
    fi
    local key kind folder wheel
    key=$(python -W ignore - "$MMCV" 2>/dev/null <<'PY'
import os, platform, sys, torch
kind = 'cuda' if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1' else 'cpu'
tag = 'cp%d%d' % sys.version_info[:2]
# "optimised": those without it in their name were compiled by an earlier script, without -O3.
print(f'onedl-mmcv-{sys.argv[1]}-{tag}-torch{torch.__version__}-{platform.machine()}-optimised-{kind}')
PY
    )
    kind=${key##*-}
    folder=$CACHE/$key
    wheel=$(wheel_in "$folder")
    if [ -n "$wheel" ] && has_ops "$wheel"; then
        echo "   from $wheel"
        pip_install --force-reinstall --no-deps "$wheel"
        if ops_work; then return; fi
        echo '   which does not load here: compiling anew'
    fi
    rm -f "$folder"/*.whl
    compile_mmcv "$folder" "$kind"
    pip_install --force-reinstall --no-deps "$(wheel_in "$folder")"
    ops_work || python -c 'from mmcv.ops import nms, ModulatedDeformConv2d' ||
        die 'the compiled mmcv does not load (see above).'
}

set_up() {
    local stamp start=$SECONDS
    enter_environment
    stamp=$(python -c 'import sys; print(sys.prefix)')/.fiber_mmdet_setup
    if [ "$(cat "$stamp" 2>/dev/null)" = "$(state)" ]; then
        return
    fi
    check_rivals
    rm -f "$stamp"
    step 'torch' install_torch
    step 'build requirements' pip_install -r "$ROOT/requirements/build.txt"
    step 'pinned requirements' install_pinned
    step "mmcv $MMCV with operators" install_mmcv
    step 'fiber_mmdet' pip_install --no-deps --no-build-isolation -e "$ROOT"
    # yapf, which mmengine imports, writes a cache at its first import. Two processes that start at once, as
    # torchrun's and those of the tests do, would read each other's half.
    python -c 'import yapf'
    state >"$stamp"
    echo "== environment ready in $((SECONDS - start)) s: $(command -v python)"
}

workers() {  # processes for the tests: one per core, 16 at most, as far as there are 2.5 GB for each
    python - <<'PY'
import os
from pathlib import Path

def words(file, start=''):
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith(start)), [])

cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
free = [int(word) * 1024 for word in words('/proc/meminfo', 'MemAvailable')[1:2]]
match words('/sys/fs/cgroup/cpu.max'):  # a container's share
    case [quota, period] if quota != 'max':
        cores = min(cores, int(quota) // int(period))
match words('/sys/fs/cgroup/memory.max'):
    case [limit] if limit != 'max':
        free.append(int(limit))
print(max(1, min(cores, 16, *(int(memory / 2.5e9) for memory in free))))
PY
}

run_tests() {
    local argument selection=() arguments=()
    for argument in "$@"; do
        if [ "$argument" = --full ]; then selection=(-m ''); else arguments+=("$argument"); fi
    done
    python -c 'import xdist, filelock' 2>/dev/null || die "the tests need pytest-xdist and filelock, which this environment
lacks: \`pip install -r requirements/pinned.txt\`, or \`python -m pytest\` for a run in one process."
    cd "$ROOT"
    HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 python -m pytest -q -n "$(workers)" --dist worksteal \
        ${selection[@]+"${selection[@]}"} ${arguments[@]+"${arguments[@]}"}
}

lint() {
    local status=0 check
    step 'lint requirements' pip_install -r "$ROOT/requirements/lint.txt"
    cd "$ROOT"
    for check in 'ruff check' 'ruff format --check' mypy codespell; do
        echo "== $check"
        $check || status=1
    done
    return "$status"
}

install_extras() {
    step 'extras' pip_install -r "$ROOT/requirements/extras.txt"
    if command -v chromium >/dev/null; then
        return
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        step 'Chromium, for the test of the web page' install_chromium
    else
        echo 'No Chromium: the test that clicks through the web page is skipped. On Debian and Ubuntu: apt install chromium'
    fi
}

say_use() {
    [ "${FIBER_ENV:-}" = active ] || echo "To use it: source .venv/bin/activate"
}

install_chromium() {
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium; } >/dev/null ||
        echo '   could not be installed: that test is skipped'
}

usage() {
    sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

main() {
    local command=${1:-}
    [ $# = 0 ] || shift
    case $command in
        setup)
            set_up
            say_use
            ;;
        demo)
            set_up
            python "$ROOT/tools/demo.py" "$@"
            [ $# != 0 ] || python "$ROOT/tools/demo_image_text.py" overview
            ;;
        test)
            set_up
            run_tests "$@"
            ;;
        extras)
            set_up
            install_extras
            say_use
            ;;
        lint)
            set_up
            lint
            ;;
        -h | --help | help) usage ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    main "$@"
fi
