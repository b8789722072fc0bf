"""Imports run down the floors of the package, in no circle, and every module imports by itself."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
# Rooms of the package from the ground up: a module imports from its own room and from lower floors.
FLOORS = (
    (
        'arguments',
        'caches',
        'fields',
        'host',
        'images',
        'outputs',
        'prefix_store',
        'prefix_writer',
        'records',
        'structures',
        'version',
        'whole_files',
    ),
    ('text', 'checkpoints', 'formats', 'search'),
    ('models', 'datasets'),
    ('evaluation', 'inspection'),
    ('engine', 'convert', 'weights', 'visualization'),
    ('apis', 'bulk', 'serving', 'export', '__main__'),
)
# Rooms of one floor that do not import each other; elsewhere a floor may, without circles of files.
STRANGERS = [{'models', 'datasets'}]
# Packages beside `fiber_mmdet`, and what each may import beside itself and the standard library.
BESIDE = {
    'fiber_scenes': {'numpy', 'PIL'},
    'fiber_command': set(),
    'parity_suite': None,  # anything
    'benchmarking': None,
    'fault_injection': None,
    'image_text_demo': None,
    'paper_claims': None,
    'planning': None,
    'documentation_site': None,
}
# The metric of the generated world, which is registered as all metrics are.
SCENE_METRIC = 'fiber_scenes.caption_accuracy'


def python_files(folder: Path, package: str) -> dict[str, Path]:
    """Files of a package by the names of their modules."""
    files = {}
    for file in sorted((folder / package).rglob('*.py')):
        parts = file.relative_to(folder).with_suffix('').parts
        if not {'.mim', 'assets', '__pycache__'} & set(parts):
            files['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = file
    return files


def imports(module: str, file: Path) -> set[str]:
    """Absolute names that a file imports anywhere in it: lazily and for annotations too."""
    package = module if file.name == '__init__.py' else module.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')[: len(package.split('.')) - node.level + 1]
            source = '.'.join([*(above if node.level else []), *filter(None, [node.module])])
            found |= {f'{source}.{alias.name}' for alias in node.names}
    return found


def graph(files: dict[str, Path]) -> dict[str, set[str]]:
    """Imports among `files`: module -> modules, with re-exports followed to their origin."""
    named = {module: imports(module, file) for module, file in files.items()}

    def origin(name: str) -> str | None:
        if name in files:
            return name
        module, _, attribute = name.rpartition('.')
        if module not in files:
            return origin(module) if module else None
        if files[module].name == '__init__.py':
            for other in named[module]:
                if other.rpartition('.')[2] == attribute and other != name:
                    return origin(other)
        return module

    return {
        module: {origin(name) for name in names} - {None, module} for module, names in named.items()
    }


PACKAGE = python_files(CHECKOUT, 'fiber_mmdet')
SCENES = python_files(CHECKOUT, 'fiber_scenes')
COMMAND = python_files(CHECKOUT, 'fiber_command')
TOOLS = {
    name: file
    for package in (
        'parity_suite',
        'benchmarking',
        'fault_injection',
        'image_text_demo',
        'paper_claims',
        'planning',
        'documentation_site',
    )
    for name, file in python_files(CHECKOUT / 'tools', package).items()
}
ARROWS = graph({**PACKAGE, **SCENES, **COMMAND, **TOOLS})
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room(module: str) -> str:
    return module.split('.')[1]


def test_every_room_has_its_floor():
    assert {room(module) for module in PACKAGE if module != 'fiber_mmdet'} == set(FLOOR)


@pytest.mark.parametrize('name', FLOOR)
def test_imports_run_down_or_stay(name):
    wrong = []
    for module in PACKAGE:
        if module == 'fiber_mmdet' or room(module) != name:
            continue
        for target in ARROWS[module]:
            if target == 'fiber_mmdet':
                continue  # for its version
            if name == '__main__' and target in COMMAND:
                continue
            if target not in PACKAGE or FLOOR[room(target)] > FLOOR[name]:
                wrong.append(f'{module} -> {target}')
            elif {name, room(target)} in STRANGERS:
                wrong.append(f'{module} -> {target}')
    assert not wrong


def test_only_the_root_knows_the_generated_world_and_of_it_one_metric():
    assert [name for name in ARROWS['fiber_mmdet'] if name not in PACKAGE] == [SCENE_METRIC]


def test_the_generated_world_stands_alone():
    standard = sys.stdlib_module_names
    for module, file in SCENES.items():
        if module != SCENE_METRIC:
            foreign = {name.split('.')[0] for name in imports(module, file)} - standard
            assert foreign <= {'fiber_scenes', *BESIDE['fiber_scenes']}, module


def test_the_command_stands_alone():
    for module, file in COMMAND.items():
        foreign = {name.split('.')[0] for name in imports(module, file)} - sys.stdlib_module_names
        assert foreign <= {'fiber_command'}, module


def test_no_circle_of_files():
    circle = []
    try:
        graphlib.TopologicalSorter(ARROWS).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert not circle


# Reads modules from its input, by package; writes which fail to import, and why. A package comes
# before its parts in any program: those that it has not imported itself are imported in copies of
# the process that holds it.
IMPORT_EACH = """
import importlib, json, os, sys, traceback, types

answer, sys.stdout = sys.stdout, sys.stderr
roots, third_party, parts = json.load(sys.stdin)
for name in third_party:
    importlib.import_module(name)
for name, folder in roots.items():  # which import nothing by themselves
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]


def in_a_copy(module):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
            failed = below(module)
        except BaseException:
            failed = {module: traceback.format_exc()[-4000:]}
        with os.fdopen(write, 'w') as pipe:
            json.dump(failed, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        failed = json.load(pipe)
    os.waitpid(child, 0)
    return failed


def below(package):
    failed = {}
    for module in parts.get(package, ()):
        failed |= below(module) if module in sys.modules else in_a_copy(module)
    return failed


json.dump(below(''), answer)
"""


def third_party(files: dict[str, Path]) -> list[str]:
    """Modules of other packages that are imported together with the files."""
    found = set()
    for file in files.values():
        for node in ast.parse(file.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    own = {'fiber_mmdet', 'fiber_scenes', 'fiber_command', 'parity_suite', 'benchmarking'}
    return sorted(name for name in found if name.split('.')[0] not in own)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='copies a process that holds the host')
def test_every_module_can_be_the_first():
    """Each is imported in a copy of a process that holds all third-party packages, none of ours."""
    files = {**PACKAGE, **SCENES, **COMMAND, **TOOLS}
    roots = {'fiber_mmdet': str(CHECKOUT / 'fiber_mmdet')}
    parts: dict[str, list[str]] = {}
    for name in files:
        parts.setdefault(name.rpartition('.')[0], []).append(name)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', IMPORT_EACH],
        input=json.dumps([roots, third_party(files), parts]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(CHECKOUT), str(CHECKOUT / 'tools')])),
    )
    failed = json.loads(done.stdout)
    assert not failed, '\n'.join([', '.join(failed), *failed.values()])
