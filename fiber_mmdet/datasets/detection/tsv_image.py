"""Photos kept as base64 text in the rows of a tsv file."""

import base64
import binascii
import os

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .tsv_file import read_row


@TRANSFORMS.register_module()
class LoadImageFromTSV(BaseTransform):
    """``LoadImageFromFile`` for records of :class:`DetectionTSVDataset`.

    Reads ``results['tsv']``, a dict of ``path``, ``offset`` (the byte at which
    the row begins) and ``key`` (its first column); sets ``img`` (H, W, 3) BGR,
    ``img_shape`` and ``ori_shape``. The photo is the last column of the row.

    Args:
        to_float32: whether the picture becomes float32 instead of uint8.
        color_type: as in mmcv; this one is Pillow's RGB with EXIF orientation
            ignored, as the reference decodes.
        imdecode_backend: as in mmcv.
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
        self._files: dict = {}

    def transform(self, results: dict) -> dict:
        """Decode the photo of a record.

        Raises:
            OSError: the row is of another photo, or holds no picture.
        """
        row = results['tsv']
        columns = read_row(self._open(row['path']), row['offset'])
        if columns[0] != row['key']:
            raise OSError(
                f'that row is of {columns[0]!r}: the files of the yaml do not belong '
                'together, or the index (.lineidx) is of another file'
            )
        try:
            content = base64.b64decode(columns[-1], validate=True)
        except binascii.Error as error:
            raise OSError(f'not base64: {error}') from error
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise OSError('no picture')
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results

    def _open(self, path: str):
        """The file, opened once by every process."""
        key = path, os.getpid()
        if key not in self._files:
            self._files[key] = open(path, 'rb')
        return self._files[key]

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _files={})

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(to_float32={self.to_float32}, '
            f'color_type={self.color_type!r}, imdecode_backend={self.imdecode_backend!r})'
        )
