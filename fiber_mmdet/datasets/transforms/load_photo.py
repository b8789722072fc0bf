"""Reading photos the way the published models saw them, with errors that name the file."""
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadPhoto(LoadImageFromFile):
    """Decode with Pillow into BGR uint8.

    Args:
        exif: turn the picture as its EXIF orientation says. Off by default, as
            in the reference and in COCO's annotations.
        backend_args: file backend of mmengine.

    Raises:
        FileNotFoundError: naming the path and where to look.
        ValueError: naming a file that is not a readable picture.
    """

    def __init__(self, exif: bool = False, backend_args: dict = None) -> None:
        super().__init__(color_type='color' if exif else 'color_ignore_orientation',
                         imdecode_backend='pillow', backend_args=backend_args)

    def transform(self, results: dict) -> dict:
        """Fill ``img``, ``img_shape`` and ``ori_shape`` from ``img_path``."""
        path = results['img_path']
        try:
            loaded = super().transform(results)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'no image {path}: check data_root and data_prefix of the '
                                    'data set') from error
        except Exception as error:  # Pillow raises many kinds
            raise ValueError(f'cannot read {path} as a picture ({error}): replace the file or '
                             'remove it from the annotations') from error
        return loaded
