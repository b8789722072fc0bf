"""The runner's own files, copied beside the programs so that they run where only numpy is.

``import fiber_mmdet`` checks and registers everything with mmdet. The copy is a package
``fiber_runner`` with the modules that the runners import and nothing else; its ``__init__`` files
are empty but for the first.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
NAME, COPY = PACKAGE.name, 'fiber_runner'
RUNNERS = {
    'fiber_mmdet.export.runner': 'GroundingRunner',
    'fiber_mmdet.export.image_text_runner': 'ImageTextRunner',
}
NEEDED = ('numpy', 'pillow', 'onnxruntime', 'tokenizers', 'rich', 'packaging', 'matplotlib')


def runner_modules() -> dict[str, Path]:
    """The modules that the runners import, also those imported within functions, and their files.

    Raises:
        ValueError: one imports from a package of several modules, whose ``__init__`` needs torch.
    """
    found: dict[str, Path] = {}
    todo = list(RUNNERS)
    while todo:
        module = todo.pop()
        if module in found:
            continue
        path = _file(module)
        if path.name == '__init__.py':
            raise ValueError(
                f'{module} is a package: runners and what they import name its modules instead'
            )
        found[module] = path
        todo += _imports(module, path)
    return dict(sorted(found.items()))


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split('.')[1:])
    return place / '__init__.py' if place.is_dir() else place.with_suffix('.py')


def _imports(module: str, path: Path) -> Iterator[str]:
    """Modules of this package that a file imports, but for those that only types need."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and 'TYPE_CHECKING' in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in typing_only:
            continue
        base = module.split('.')[: -node.level] if node.level else []
        name = '.'.join([*base, *filter(None, [node.module])])
        if name.split('.')[0] == NAME:
            for alias in node.names:
                inner = f'{name}.{alias.name}'
                yield (
                    inner if _file(name).name == '__init__.py' and _file(inner).is_file() else name
                )


def copy_runners(folder: Path) -> None:
    """Write the package ``fiber_runner`` into a folder.

    Args:
        folder: where it goes.
    """
    for path in runner_modules().values():
        target = folder / COPY / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding='utf-8')
        text = text.replace(f'from {NAME}.', f'from {COPY}.').replace(
            f'import {NAME}.', f'import {COPY}.'
        )
        target.write_text(text, encoding='utf-8')
        for parent in target.relative_to(folder).parents:
            init = folder / parent / '__init__.py'
            if parent != Path() and not init.exists():
                init.write_text('', encoding='utf-8')
    lines = ['"""Runs exported FIBER models with numpy and onnxruntime."""', '']
    lines += [
        f'from {module.replace(NAME, COPY, 1)} import {name}' for module, name in RUNNERS.items()
    ]
    lines += ['', f'__all__ = {sorted(RUNNERS.values())!r}', '']
    (folder / COPY / '__init__.py').write_text('\n'.join(lines), encoding='utf-8')
