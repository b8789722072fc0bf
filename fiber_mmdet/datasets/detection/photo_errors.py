"""Errors that name the photo that cannot be read."""


class PhotoError(OSError):
    """A missing or damaged photo; the message names it and says what to do."""


class NamesUnreadablePhotos:
    """Mixin for mmdet data sets: a photo that cannot be read is named.

    Pillow and the file backends raise many kinds of errors, few with a path.
    """

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on record ``idx``.

        Raises:
            PhotoError: the photo is missing, or is not a readable picture.
        """
        try:
            return super().prepare_data(idx)
        except (OSError, SyntaxError) as error:
            path = self.get_data_info(idx).get('img_path')
            if isinstance(error, FileNotFoundError):
                raise PhotoError(
                    f'no image {path}: check data_root and data_prefix of the data set'
                ) from error
            raise PhotoError(
                f'cannot read {path} as a picture ({error}): replace the file or '
                'remove it from the annotations'
            ) from error
