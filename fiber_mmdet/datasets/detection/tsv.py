"""Large tab-separated files, read row by row in any order, and the images in their rows."""

import base64
import binascii
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.logging import MMLogger

from fiber_mmdet.fields import shown
from fiber_mmdet.records import read_lines

from ..transforms.load_image import UPRIGHT, decode_bgr


class TSVFile:
    """A tsv file with the byte offsets of its rows.

    The offsets come from ``<name>.lineidx`` beside the file (one per line), or are found by
    reading the file through once. Every process opens the file for itself, so the workers of a
    data loader do not share a position.

    Args:
        path: of the tsv file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the index belongs to another file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'no file {self.path}')
        self.index = self.path.with_suffix('.lineidx')
        if self.index.is_file():
            self.offsets = self._read_index()
        else:
            self.offsets = np.fromiter(self._find_rows(), dtype=np.int64)
        self._files = FilesOfProcess()

    def _read_index(self) -> np.ndarray:
        """The offsets in the .lineidx file, which must begin at 0 and rise."""
        remedy = 'Delete it, and the rows are searched for'
        offsets: list[int] = []
        for where, line in read_lines(str(self.index)):
            if not (line.isascii() and line.strip().isdigit() and len(line.strip()) < 19):
                raise ValueError(f'{where} is {shown(line)}, not the offset of a row. {remedy}')
            offsets.append(int(line))
        found = np.array(offsets, dtype=np.int64)
        if len(found) and found[0] != 0 or (np.diff(found) <= 0).any():
            raise ValueError(
                f'{self.index} does not list rising offsets from 0: it is damaged. {remedy}'
            )
        if found.max(initial=0) > self.path.stat().st_size:
            raise ValueError(
                f'{self.index} lists more rows than {self.path} has: it belongs to another file. '
                f'{remedy}'
            )
        return found

    def source(self) -> str:
        """The file, and the index that its rows come from, for errors."""
        return f'{self.path} ({self.index.name})' if self.index.is_file() else str(self.path)

    def _find_rows(self) -> Iterator[int]:
        size = self.path.stat().st_size
        if size > 1e9:
            MMLogger.get_current_instance().info(
                f'{self.path}: there is no {self.path.with_suffix(".lineidx").name} beside it, so '
                f'all {size / 1e9:.0f} GB are read to find the rows'
            )
        offset = 0
        with open(self.path, 'rb') as file:
            for line in file:
                yield offset
                offset += len(line)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> list[str]:
        """The columns of a row, without surrounding blanks.

        Raises:
            IndexError: there is no such row.
            ValueError: the index is of another file, or the row is not text in UTF-8.
        """
        if not 0 <= row < len(self):
            raise IndexError(f'{self.path} has {len(self)} rows, but row {row} was requested')
        try:
            return self._files.row(str(self.path), int(self.offsets[row]))
        except NoRowError as error:
            raise ValueError(
                f'{self.index} says that row {row} begins at byte {self.offsets[row]} of '
                f'{self.path}, but no row begins there: it belongs to another file. Delete it, and '
                'the rows are searched for'
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{self.path}, row {row} is not text in UTF-8: fetch or make the file again'
            ) from error


class NoRowError(ValueError):
    """A byte at which no row of a file begins."""


class FilesOfProcess:
    """Binary files that each process opens once, for itself."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], BinaryIO] = {}

    def row(self, path: str, offset: int) -> list[str]:
        """Columns of the row that begins at byte ``offset``, without surrounding blanks.

        Raises:
            NoRowError: no row begins there.
        """
        key = path, os.getpid()
        if key not in self._open:
            self._open[key] = open(path, 'rb')
        file = self._open[key]
        file.seek(max(offset - 1, 0))
        if offset and file.read(1) != b'\n':
            raise NoRowError(f'no row of {path} begins at byte {offset}')
        return [column.strip() for column in file.readline().decode().split('\t')]

    def __getstate__(self) -> dict:
        return dict(_open={})


@TRANSFORMS.register_module()
class LoadImageFromTSV(BaseTransform):
    """``LoadImageFromFile`` for records of :class:`DetectionTSVDataset`.

    Reads ``results['tsv']``, a dict of ``path``, ``offset`` (the byte at which the row begins) and
    ``key`` (its first column); sets ``img`` (H, W, 3) BGR, ``img_shape`` and ``ori_shape``. The
    image is base64 text in the last column of the row.

    Args:
        to_float32: convert the image from uint8 to float32.
        color_type: as in mmcv; the default ignores EXIF orientation, as the reference does.
        imdecode_backend: as in ``LoadImageFromFile``.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color_ignore_orientation',
        imdecode_backend: str = 'pillow',
    ) -> None:
        self.to_float32 = to_float32
        self.color_type = color_type
        self.imdecode_backend = imdecode_backend
        self._files = FilesOfProcess()

    def transform(self, results: dict) -> dict:
        """Decode the image of a record.

        Raises:
            OSError: the row belongs to another record, or is not base64.
            ImageError: it contains no image, or one of too many pixels.
        """
        row = results['tsv']
        try:
            columns = self._files.row(row['path'], row['offset'])
        except ValueError as error:
            raise OSError(f'its row cannot be read: {error}') from error
        if columns[0] != row['key']:
            raise OSError(
                f'the row belongs to {columns[0]!r}: the files of the yaml do not belong '
                'together, or the index (.lineidx) belongs to another file'
            )
        try:
            content = base64.b64decode(columns[-1], validate=True)
        except (binascii.Error, ValueError) as error:
            raise OSError(f'not base64: {error}') from error
        name = f'{row["path"]}#{row["key"]}'
        image = decode_bgr(content, name, self.color_type, self.imdecode_backend)
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        results['img_upright'] = UPRIGHT.get(self.color_type)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(to_float32={self.to_float32}, '
            f'color_type={self.color_type!r}, imdecode_backend={self.imdecode_backend!r})'
        )
