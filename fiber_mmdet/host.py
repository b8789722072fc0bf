"""The OpenMMLab packages that this plugin extends: are they here, complete and of a known version?

pip cannot express "the onedl-* packages or the OpenMMLab ones", so this is checked once, at import,
and the error has the commands that fix it. No package of the host is imported for that.
"""

import importlib.machinery
import importlib.util
import io
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.version import InvalidVersion, Version

# Distributions that own each top-level package: installed together, they overwrite one another.
OWNERS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}
# torch's questions to an x86 CPU
BFLOAT16_UNITS = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
MMDET_RANGE = ('3.3', '4')
MMCV_MINIMUM = '2.0'

ONEDL_RECIPE = """\
  pip install torch
  pip install -U setuptools wheel packaging ninja psutil
  pip install "onedl-mmengine>=0.10.12,<0.11" "onedl-mmdetection>=3.5.1,<4"
  pip install --no-cache-dir --no-build-isolation --force-reinstall --no-deps \\
      "onedl-mmcv>=2.3.6,<2.4"
The last command compiles mmcv's operators, which takes 6 to 20 minutes; in a checkout of this
project `bash tools/quickstart.sh setup` does all of it."""

OPENMMLAB_RECIPE = """\
  pip install torch
  pip install "setuptools<82" wheel packaging ninja psutil
  pip install "mmengine>=0.10.7" "mmdet>=3.3,<4"
  pip install --no-cache-dir --no-build-isolation --force-reinstall --no-deps mmcv==2.1.0
The last command compiles mmcv's operators, which takes 6 to 20 minutes."""


class HostStackError(ImportError):
    """The OpenMMLab packages are missing, broken or do not fit together."""


class MissingExtra(ImportError):
    """A package is missing that only some things need; the message says how to install it."""


def need_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import what an optional dependency of this package brings.

    Args:
        module: its name in Python.
        extra: of this package, a key of ``optional-dependencies`` in pyproject.toml.
        purpose: what it is needed for, for the error.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition('.')[0]
        if not isinstance(error, ModuleNotFoundError) or error.name != package:
            raise MissingExtra(f'{purpose} needs {module}, which fails: {error}') from error
        raise MissingExtra(
            f'{purpose} needs {package}: `pip install {package}`, or all of the extra: '
            f'`pip install "fiber_mmdet[{extra}]"` (in a checkout `pip install -e ".[{extra}]"`)'
        ) from error


def distributions() -> dict[str, str]:
    """Version of every installed distribution that owns a host package."""
    found: dict[str, str] = {}
    for name in sum(OWNERS.values(), ()):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def package_dir(name: str) -> Path | None:
    """Folder of a package, without importing it; None if there is none."""
    if name in sys.modules:
        spec = getattr(sys.modules[name], '__spec__', None)
    else:
        spec = importlib.util.find_spec(name)
    # A bare folder of that name on the path, such as a clone, is a namespace package: no origin.
    if spec is None or not spec.origin or not spec.submodule_search_locations:
        return None
    return Path(spec.origin).parent


def literal(file: Path, name: str) -> str | None:
    """Value of `name = '...'` in a source file, or None."""
    try:
        match = re.search(
            rf"^{name}\s*=\s*['\"]([^'\"]+)['\"]", file.read_text(encoding='utf-8'), re.MULTILINE
        )
    except OSError:
        return None
    return match.group(1) if match else None


def has_ops(folder: Path) -> bool:
    """Whether mmcv's compiled operators lie in its folder, built for this Python."""
    return importlib.machinery.PathFinder.find_spec('mmcv._ext', [str(folder)]) is not None


def collect() -> dict[str, Any]:
    """Facts for :func:`diagnose`. A version of '' means: installed, version unknown."""
    installed = distributions()
    facts: dict[str, Any] = dict(distributions=installed, mmcv_ops=False, mmcv_bounds=None)
    for package, owners in OWNERS.items():
        folder = package_dir(package)
        if folder is None:
            facts[package] = None
            continue
        facts[package] = literal(folder / 'version.py', '__version__') or next(
            (installed[owner] for owner in owners if owner in installed), ''
        )
        if package == 'mmcv':
            facts['mmcv_ops'] = has_ops(folder)
        # Once imported, mmdet has accepted its mmcv, whatever it took to persuade it.
        if package == 'mmdet' and 'mmdet' not in sys.modules:
            bounds = [
                literal(folder / '__init__.py', f'mmcv_{end}_version')
                for end in ('minimum', 'maximum')
            ]
            facts['mmcv_bounds'] = tuple(bounds) if all(bounds) else None
    return facts


def within(version: str, low: str, high: str = '9999') -> bool:
    """low <= version < high; an unknown version gets the benefit of the doubt."""
    try:
        return Version(low) <= Version(version) < Version(high)
    except InvalidVersion:
        return True


def diagnose(versions: dict) -> list[str]:
    """The problems of a host, one sentence each.

    Args:
        versions: facts about the host, see :func:`collect`.
    """
    problems: list[str] = []
    installed = versions.get('distributions', {})
    for package, owners in OWNERS.items():
        rivals = [owner for owner in owners if owner in installed]
        if len(rivals) > 1:
            problems.append(
                f'{" and ".join(rivals)} are installed together: they share the folder '
                f'{package}/ and have overwritten each other. First run '
                f'`pip uninstall -y {" ".join(rivals)}`.'
            )
        if versions.get(package) is None:
            problems.append(f'{package} is not installed.')

    mmdet, mmcv = versions.get('mmdet'), versions.get('mmcv')
    if mmdet and not within(mmdet, *MMDET_RANGE):
        problems.append(
            f'mmdet {mmdet} is installed; fiber_mmdet needs at least {MMDET_RANGE[0]} and less '
            f'than {MMDET_RANGE[1]}.'
        )
    if mmcv is not None and not versions.get('mmcv_ops'):
        problems.append(
            'mmcv is installed without its compiled operators (mmcv._ext). pip builds such an '
            'mmcv, without an error, when it cannot see torch during the build, and keeps it in '
            'its cache.'
        )
    if mmcv:
        low, high = versions.get('mmcv_bounds') or (MMCV_MINIMUM, '3')
        if not within(mmcv, low, high):
            asks = f'mmdet {mmdet}' if versions.get('mmcv_bounds') else 'fiber_mmdet'
            problems.append(
                f'mmcv {mmcv} is installed; {asks} accepts at least {low} and less than {high}.'
            )
    return problems


def recipe(installed: dict) -> str:
    """The commands that set the host up.

    Args:
        installed: distributions that are installed; they decide between the families of packages
            (onedl if there is none).
    """
    upstream = any(name in installed for name in ('mmdet', 'mmengine'))
    onedl = any(name.startswith('onedl-') for name in installed)
    return OPENMMLAB_RECIPE if upstream and not onedl else ONEDL_RECIPE


def has_bfloat16_products(device: str = 'cpu') -> bool:
    """Whether a device multiplies matrices of bfloat16 itself, faster than those of float32.

    Of x86 CPUs those with ``avx512_bf16`` or AMX do; torch also accepts bfloat16 on others with
    AVX-512, which convert every operand and are slower than in float32. Of ARM CPUs, torch asks
    for the instructions themselves. Of NVIDIA GPUs, Ampere and later.

    Args:
        device: type of the device, 'cpu', 'cuda', ….
    """
    import torch

    if device == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != 'cpu':
        return True
    supported = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', None)
    if supported is not None and not supported():
        return False
    units = [getattr(torch.cpu, name, None) for name in BFLOAT16_UNITS]
    if platform.machine().lower() not in ('x86_64', 'amd64') or not any(units):
        return True
    return any(has_unit() for has_unit in units if has_unit is not None)


# what mmdet says, when it is imported, of optional packages that nobody asked for
PRINTED = ('Could not import OneDL',)
WARNED = 'faster_coco_eval is not installed'


@contextmanager
def without_notices() -> Iterator[None]:
    """Import the host packages without their notices about optional packages."""
    sieve = _Sieve()
    with warnings.catch_warnings(), redirect_stdout(sieve):
        warnings.filterwarnings('ignore', message=WARNED)
        try:
            yield
        finally:
            sieve.close()


class _Sieve(io.TextIOBase):
    """Standard output without some lines."""

    def __init__(self) -> None:
        self.stream, self.line = sys.stdout, ''

    def write(self, text: str) -> int:
        *lines, self.line = f'{self.line}{text}'.split('\n')
        for line in lines:
            if not line.startswith(PRINTED):
                self.stream.write(f'{line}\n')
        return len(text)

    def close(self) -> None:
        self.stream.write(self.line)
        self.line = ''


def check_host() -> None:
    """Check that this plugin can run here.

    Raises:
        HostStackError: it cannot; the message has the commands that fix it.
    """
    facts = collect()
    problems = diagnose(facts)
    if problems:
        raise HostStackError(
            'fiber_mmdet cannot run on the OpenMMLab packages installed here.\n'
            + ''.join(f'- {problem}\n' for problem in problems)
            + 'These commands fix it:\n'
            + recipe(facts['distributions'])
        )
