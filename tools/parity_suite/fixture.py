"""Parity fixtures: an npz of reference outputs that describes itself in the JSON member `meta`."""

import json
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

SHARP = 'sharp:'
STATS = '__stats'
MANIFEST = 'manifest'


class ParityError(ValueError):
    """A fixture, or the folder beside it, is unusable; the message is one line."""


class Fixture:
    """The arrays of a fixture.

    ``NAME`` holds every ``step``-th value of an array, ``NAME__stats`` the mean,
    population std and max|x| of the whole array. ``sharp:NAME`` is the same
    with the second set of weights.

    Args:
        path: the npz.
        folder: folder of the generator ``weights.py`` and the manifests; manifests
            are also looked for beside the npz.

    Raises:
        ParityError: ``path`` is not such a file.
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
                f'{self.path} is not a parity fixture: it must be an npz with a JSON member `meta`'
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
        """The sets of weights: '' and, if there are arrays with it, 'sharp:'."""
        return [''] + [SHARP] * any(name.startswith(SHARP) for name in self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise ParityError(f'{self.path} has no array {name!r}')
        return self._npz[name]

    def json(self, name: str) -> Any:
        """Value of a member that holds JSON.

        Raises:
            ParityError: there is no such member.
        """
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
        """max|float32 - float64| of the reference's own array; 0 if not recorded.

        Coarse-grained fixtures record it with each array, fine-grained ones in a table for each
        set of weights.
        """
        entry = self.meta.get('arrays', {}).get(name, {})
        prefix = SHARP if name.startswith(SHARP) else ''
        table = self.note('fp32_vs_fp64_max_abs', prefix, {})
        return float(entry.get('fp32_vs_fp64_maxabs', table.get(name.removeprefix(prefix), 0.0)))

    def note(self, key: str, prefix: str = '', default: Any = None) -> Any:
        """An entry of ``meta`` for one set of weights."""
        remarks = self.meta.get('sharp', {}) if prefix == SHARP else self.meta
        return remarks.get(key, default)

    @cached_property
    def manifest(self) -> dict:
        """The manifest of the layout, ``{'keys': {key: {shape, dtype}}, …}``.

        It is a member of the npz, ``{key of a float tensor: shape}``, or a file named in ``meta``.

        Raises:
            ParityError: there is neither.
        """
        if MANIFEST in self:
            shapes = self.json(MANIFEST)
            return dict(
                keys={key: dict(shape=shape, dtype='float32') for key, shape in shapes.items()}
            )
        name = self.meta.get('manifest')
        if not isinstance(name, str) or Path(name).suffix != '.json':
            raise ParityError(
                f'{self.path} names no manifest in its meta, so it is not a fine-grained '
                f'fixture; nor has it a member {MANIFEST!r}, as coarse-grained ones do'
            )
        for folder in (self.folder, self.path.parent):
            file = folder / Path(name).name
            if file.is_file():
                return json.loads(file.read_text(encoding='utf-8'))
        raise ParityError(
            f'manifest {name} is neither in {self.folder} nor in '
            f'{self.path.parent}; name its folder with --parity-dir'
        )
