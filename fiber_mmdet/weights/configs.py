"""What users give for a config: a path, the name of one of this project, or a known model."""

import difflib
from pathlib import Path

from .addresses import named
from .catalogue import CONFIG_SCHEME, shipped_config, suggestions


class NoConfig(FileNotFoundError):
    """There is no such config; the message says which names are near."""


def shipped_folder() -> Path:
    """The folder of this project's configs, in a checkout as in an installed package."""
    return shipped_config('README.md').parent


def shipped_configs() -> list[str]:
    """Names of this project's configs, as :func:`config_file` takes them."""
    folder = shipped_folder()
    names = (path.relative_to(folder).as_posix() for path in folder.glob('*/*.py'))
    return sorted(name for name in names if not name.startswith('_base_/'))


def config_file(config: str | Path) -> Path:
    """The file of a config.

    Args:
        config: a path; the name of a config of this project, which is its path within ``configs/``
            (``coco/fiber_swin-b_16xb2-24e_coco.py``), alone or as ``fiber://configs/…``; or that of
            a known model, alone or as ``fiber://NAME``. The ending may be left out. A file of that
            name comes first.

    Raises:
        NoConfig: there is none.
        UnknownWeights: ``fiber://`` with a name that is not known, or of weights without a config.
    """
    text = str(config)
    if text.startswith(CONFIG_SCHEME):
        return _shipped(text, text.removeprefix(CONFIG_SCHEME))
    if (known := named(text)) is not None:
        return known.config_file()
    path = Path(text).expanduser()
    return path if path.is_file() else _shipped(text, path.as_posix().removeprefix('configs/'))


def _shipped(text: str, name: str) -> Path:
    """The config of a name within ``configs/``; ``text`` is what the user gave."""
    name = name if name.endswith('.py') else f'{name}.py'
    inside = bool(text.strip()) and '..' not in Path(name).parts and not Path(name).is_absolute()
    if inside:
        try:
            return shipped_config(name)
        except FileNotFoundError:
            pass
    near = _near(text, name)
    hint = f': did you mean {" or ".join(near)}?' if near else '.'
    raise NoConfig(f'no config at {text!r}{hint} `fiber configs list` prints the names of all')


def _near(text: str, name: str) -> list[str]:
    """Up to three names of configs, or of models, that are near to a text."""
    names = shipped_configs()
    if ends := [other for other in names if other.endswith(f'/{Path(name).name}')]:
        return ends[:3]
    if Path(text).suffix == '' and (models := suggestions(text, models=True)):
        return [f'the model {model}' for model in models]
    return difflib.get_close_matches(name, names, 3)
