"""Parity fixtures: an npz of reference outputs that describes itself in the JSON member `meta`."""

import json
import zipfile
from functools import cached_property
from pathlib import Path

import numpy as np

SHARP = 'sharp:'
STATS = '__stats'
MANIFEST = 'manifest'


class ParityError(ValueError):
    """A fixture, or the folder beside it, that cannot be used; the message is one line."""


class Fixture:
    """The arrays of a fixture.

    ``NAME`` holds every ``step``-th value of an array, ``NAME__stats`` mean,
    population std and max|x| of the whole of it. ``sharp:NAME`` is the same
    under the second set of weights.

    Args:
        path: the npz.
        folder: where the generator ``weights.py`` and the manifests lie; manifests
            are also looked for beside the npz.

    Raises:
        ParityError: when ``path`` is not such a file.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = Path(path), Path(folder)
        try:
            self._npz = np.load(self.path, allow_pickle=False)
            self.meta: dict = json.loads(str(self._npz['meta']))
        except OSError as error:
            raise ParityError(f'cannot read {self.path}: {error.strerror or error}') from None
        except (ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile):
            raise ParityError(
                f'{self.path} is no parity fixture: it must be an npz with a JSON member `meta`'
            ) from None
        self._files = frozenset(self._npz.files)

    @cached_property
    def names(self) -> list[str]:
        """The arrays to compare, in file order: no statistics, no ``meta``, no ``manifest``."""
        return [
            name
            for name in self._npz.files
            if name not in ('meta', MANIFEST)
            and not (name.endswith(STATS) and name[: -len(STATS)] in self._files)
        ]

    @property
    def prefixes(self) -> list[str]:
        """Sets of weights with arrays of their own: '' and, if there, 'sharp:'."""
        return [''] + [SHARP] * any(name.startswith(SHARP) for name in self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise ParityError(f'{self.path} has no array {name!r}')
        return self._npz[name]

    def json(self, name: str):
        """Value of a member that holds JSON."""
        return json.loads(str(self[name]))

    def stats(self, name: str) -> np.ndarray | None:
        """Mean, population std and max|x| (3,) float64 of a whole array, None if not recorded."""
        return self[name + STATS] if name + STATS in self else None

    def layout(self, name: str) -> tuple[tuple[int, ...], int]:
        """Shape of the whole array behind a member, and the step it was sampled with."""
        entry = self.meta.get('arrays', {}).get(name)
        if entry is None:
            return self[name].shape, 1
        return tuple(entry['shape']), int(entry['step'])

    def rounding(self, name: str) -> float:
        """max|float32 - float64| of the reference's own array; 0 if not recorded."""
        return float(self.meta.get('arrays', {}).get(name, {}).get('fp32_vs_fp64_maxabs', 0.0))

    def note(self, key: str, prefix: str = '', default=None):
        """A remark of ``meta`` about one set of weights."""
        remarks = self.meta.get('sharp', {}) if prefix == SHARP else self.meta
        return remarks.get(key, default)

    @cached_property
    def manifest(self) -> dict:
        """The manifest of the layout, ``{'keys': {key: {shape, dtype}}, …}``.

        It is a member of the npz, ``{float key: shape}``, or a file that ``meta`` names.

        Raises:
            ParityError: when there is neither.
        """
        if MANIFEST in self:
            shapes = self.json(MANIFEST)
            return dict(
                keys={key: dict(shape=shape, dtype='float32') for key, shape in shapes.items()}
            )
        name = self.meta.get('manifest')
        if not isinstance(name, str) or Path(name).suffix != '.json':
            raise ParityError(
                f'{self.path} names no manifest in its meta: not a fine-grained '
                f'fixture; nor has it a member {MANIFEST!r}, as image-level ones do'
            )
        for folder in (self.folder, self.path.parent):
            file = folder / Path(name).name
            if file.is_file():
                return json.loads(file.read_text(encoding='utf-8'))
        raise ParityError(
            f'manifest {name} is neither in {self.folder} nor in '
            f'{self.path.parent}; name its folder with --parity-dir'
        )
