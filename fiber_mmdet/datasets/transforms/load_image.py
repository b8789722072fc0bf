"""Images from files, read by the rule of :mod:`fiber_mmdet.images`."""

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine import fileio

from fiber_mmdet.images import decode_image, open_image

UPRIGHT = {'color': True, 'color_ignore_orientation': False}


def decode_bgr(content: bytes, name: str, color_type: str, backend: str | None) -> np.ndarray:
    """Pixels of an image file as mmcv's transforms expect them.

    Args:
        content: of the file.
        name: of the file, for errors.
        color_type: of mmcv's ``LoadImageFromFile``.
        backend: its ``imdecode_backend``.

    Returns:
        (H, W, 3) uint8 BGR; what mmcv returns for a colour type other than 'color' and
        'color_ignore_orientation', or a backend other than 'cv2' and 'pillow'.

    Raises:
        ImageError: the image cannot be read, or has too many pixels.
    """
    if color_type in UPRIGHT and backend in ('cv2', 'pillow', None):
        return decode_image(content, name, UPRIGHT[color_type])[..., ::-1]
    with open_image(content, name):
        image = mmcv.imfrombytes(content, flag=color_type, backend=backend)
    assert image is not None, f'failed to load image: {name}'
    return image


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which in mmdet's registry it replaces.

    Differs from mmcv's: images of 16 and 32 bits a channel are scaled to 8 bits, instead of being
    white; the alpha of grey images is dropped, as that of others is; formats that only Pillow knows
    are read whatever the backend; images of too many pixels are refused before they are decoded;
    and errors name the file. Other images have the same pixels, bit for bit.

    It has the name of mmcv's because mmdet's ``DetInferencer`` looks for that name in pipelines.
    The results also have ``img_upright``, whether the EXIF orientation has been applied.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']``.

        Where a dataset has the content of the file (``img_bytes``, from shards), that is decoded,
        and removed from the results; the path then only names the image.

        Returns:
            The results with ``img``, ``img_shape`` and ``ori_shape``; None for an image that cannot
            be read, if ``ignore_empty``.

        Raises:
            OSError: the file cannot be read.
            ImageError: it is not an image, or has too many pixels.
        """
        path = results['img_path']
        try:
            content = results.pop('img_bytes', None)
            if content is not None:
                pass
            elif self.file_client_args is not None:
                client = fileio.FileClient.infer_client(self.file_client_args, path)
                content = client.get(path)
            else:
                content = fileio.get(path, backend_args=self.backend_args)
            image = decode_bgr(content, str(path), self.color_type, self.imdecode_backend)
        except Exception:
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        results['img_upright'] = UPRIGHT.get(self.color_type)
        return results
