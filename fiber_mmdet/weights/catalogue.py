"""The table of known weights, ``known.json``: what is public, where, and how sure we are of it."""

import difflib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fiber_mmdet.checkpoints.account import ConversionError
from fiber_mmdet.fields import NAME, OBJECTS, TEXT, WHOLE, Kind, check_distinct, check_table

NAME_SCHEME = 'fiber://'
CONFIG_SCHEME = f'{NAME_SCHEME}configs/'  # of configs, see `config_file`
PACKAGE = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name('known.json')
# Small trained models inside this package: a folder each, with config.py and weights.pth.
DETECTOR, IMAGE_TEXT = 'fiber-mini', 'fiber-mini-vl'
PACKAGED = {
    DETECTOR: PACKAGE / 'assets' / 'fiber_mini',
    IMAGE_TEXT: PACKAGE / 'assets' / 'fiber_mini_vl',
}

LAYOUTS = {
    'fine': 'official, of a detector',
    'coarse': 'official, of an image-text model',
    'ours': 'of this project',
    'donor': 'of another model, for `fiber borrow` and model.backbone.pretrained',
    'tower': 'of one public tower, for model.backbone.pretrained',
}
STATES = {
    'packaged': 'part of this package',
    'listed': 'listed by its authors',
    'unsure': 'may be gone, or another file',
    'refused': 'refused by its host',
}

_NAME = re.compile(r'[a-z0-9]+(-[a-z0-9]+)*')
_SHA256 = re.compile(r'[0-9a-f]{64}')


def one_of(names: Any) -> Kind:
    """A field that contains one of these."""
    return Kind(
        f'one of {", ".join(names)}', lambda value: isinstance(value, str) and value in names
    )


FIELDS: dict[str, Kind] = {
    'name': Kind(
        'small letters and digits, with hyphens between them',
        lambda value: isinstance(value, str) and _NAME.fullmatch(value) is not None,
    ),
    'what': NAME,
    'task': NAME,
    'config': TEXT | None,
    'layout': one_of(LAYOUTS),
    'system': TEXT | None,
    'addresses': Kind(
        'a list of addresses, https://… or hf://…',
        lambda value: (
            isinstance(value, list)
            and all(
                isinstance(one, str) and one.startswith(('https://', 'http://', 'hf://'))
                for one in value
            )
        ),
    ),
    'size': WHOLE | None,
    'sha256': Kind(
        '64 hexadecimal digits',
        lambda value: isinstance(value, str) and _SHA256.fullmatch(value) is not None,
        optional=True,
    ),
    'licence': TEXT | None,
    'state': one_of(STATES),
    'evidence': NAME,
    'published': OBJECTS,
}
FIGURE_FIELDS: dict[str, Kind] = dict.fromkeys(('benchmark', 'metric', 'value', 'source'), NAME)


class UnknownWeights(ConversionError):
    """A name that the table does not have; the message suggests those that are near."""


def shipped_config(name: str) -> Path:
    """A config of this project, in a checkout as in an installed package.

    Args:
        name: its path within ``configs/``.

    Raises:
        FileNotFoundError: the configs are not installed with the package.
    """
    # .mim holds the configs in a wheel, and links to them in a checkout
    for folder in (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs'):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'the config {name} is not installed with fiber_mmdet (looked in '
        f'{PACKAGE / ".mim" / "configs"}): install the package again'
    )


def packaged_file(name: str, file: str) -> Path:
    """A file of a packaged model.

    Args:
        name: a key of ``PACKAGED``.
        file: its name in the folder of the model.

    Raises:
        UnknownWeights: it is not installed with the package.
    """
    path = PACKAGED[name] / file
    if not path.is_file():
        raise UnknownWeights(
            f'the packaged model {name} is not here ({path} is missing): install fiber_mmdet '
            'again, or pass a config and weights'
        )
    return path


@dataclass(frozen=True)
class Figure:
    """A published figure of a model, in percent, measured by others with other code."""

    benchmark: str
    metric: str
    value: str
    source: str


@dataclass(frozen=True)
class KnownWeights:
    """A file of weights that is known by name.

    Attributes:
        name: how it is asked for.
        what: the model, in one phrase.
        task: what it is for.
        config: of the model, within ``configs/``; None if no config has exactly these weights.
        layout: one of ``LAYOUTS``.
        addresses: where the file is, the main place first: ``hf://…`` or a plain address.
        size: in bytes; None if it was not seen.
        sha256: checksum; None if it was not seen.
        licence: None if it was not seen.
        state: one of ``STATES``.
        evidence: how sure we are of all this.
        published: figures.
        system: whose file it is, as `kind_of` says; None if the config decides.
    """

    name: str
    what: str
    task: str
    config: str | None
    layout: str
    addresses: tuple[str, ...]
    size: int | None
    sha256: str | None
    licence: str | None
    state: str
    evidence: str
    published: tuple[Figure, ...]
    system: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether it is a whole model that can be used by its name."""
        return self.config is not None and self.layout in ('fine', 'coarse', 'ours')

    def config_file(self) -> Path:
        """The config of the model.

        Raises:
            UnknownWeights: no config has exactly these weights, or a packaged model is missing.
            FileNotFoundError: the configs are not installed with the package.
        """
        if self.config is None:
            raise UnknownWeights(
                f'{self.name} is not a complete model ({LAYOUTS[self.layout]}): '
                f'{self.what}. Get the file with: fiber weights get {self.name}'
            )
        if self.name in PACKAGED:
            return packaged_file(self.name, 'config.py')
        return shipped_config(self.config)


def read_table(path: str | Path | None = None) -> dict[str, KnownWeights]:
    """Read and check a table of weights.

    Args:
        path: json list of records with ``FIELDS``; None for that of the package.

    Returns:
        The records by name, in the order of the file.

    Raises:
        ValueError: the file is not such a list; the message has its record and field.
    """
    path = Path(path or TABLE)
    source = str(path)
    rows = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(rows, list):
        raise ValueError(f'{source} must be a list of records')
    check_table(rows, FIELDS, 'record', source, key='name')
    check_distinct([row['name'] for row in rows], 'records', 'name', source, 'rename one')
    found = {}
    for row in rows:
        where = f'{source}: record {row["name"]}'
        if extra := set(row) - set(FIELDS):
            raise ValueError(f'{where} has fields that are not known: {", ".join(sorted(extra))}')
        if not row['addresses'] and row['state'] != 'packaged':
            raise ValueError(f'{where} has no address')
        check_table(row['published'], FIGURE_FIELDS, 'figure', where, key=None)
        figures = tuple(Figure(**figure) for figure in row['published'])
        found[row['name']] = KnownWeights(
            **{**row, 'addresses': tuple(row['addresses']), 'published': figures}
        )
    return found


@lru_cache(maxsize=1)
def known_weights() -> dict[str, KnownWeights]:
    """All weights that are known by name."""
    return read_table()


def find_known(name: str) -> KnownWeights:
    """The weights of a name.

    Args:
        name: as in the table, alone or as ``fiber://NAME``.

    Raises:
        UnknownWeights: there are none; names that are near are suggested.
    """
    table = known_weights()
    name = name.removeprefix(NAME_SCHEME)
    if name in table:
        return table[name]
    near = suggestions(name)
    raise UnknownWeights(
        f'no weights are known by the name {name!r}'
        + (f': did you mean {" or ".join(near)}?' if near else '.')
        + ' All names: fiber weights list'
    )


def suggestions(name: str, models: bool = False) -> list[str]:
    """Up to three names of the table that are near to a text; of models that can be used only."""
    asked = name.strip().lower().replace('_', '-').replace(' ', '-')
    names = [one.name for one in known_weights().values() if one.is_model or not models]
    if asked in names:
        return [asked]
    longer = [name for name in names if asked and name.startswith(f'{asked}-')]
    return longer[:3] or difflib.get_close_matches(asked, names, 3)
