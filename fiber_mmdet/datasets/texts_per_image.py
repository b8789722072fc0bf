"""Records of the same image, dealt into samples of several texts."""

from collections.abc import Hashable, Iterable
from typing import Any


def check_texts_per_image(value: Any, test_mode: bool) -> int:
    """A valid ``texts_per_image``.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than 1, or more in ``test_mode``.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'texts_per_image={value!r} must be a whole number')
    if value < 1:
        raise ValueError(f'texts_per_image={value} must be at least 1')
    if value > 1 and test_mode:
        raise ValueError(
            f'texts_per_image={value} is for training: leave it out of datasets with '
            'test_mode=True, whose samples the evaluation counts'
        )
    return value


def deal(images: Iterable[Hashable], most: int) -> list[list[int]]:
    """Records in groups of the same image, in the order in which images appear.

    Args:
        images: of each record, what is equal for records of the same image.
        most: largest group. An image with n texts makes n / ``most`` groups, rounded up, whose
            sizes differ by 1 at most; neighbours in the file come into different ones.

    Returns:
        The positions of the records of each group; each record is in one.
    """
    of_image: dict[Hashable, list[int]] = {}
    for position, image in enumerate(images):
        of_image.setdefault(image, []).append(position)
    groups = []
    for texts in of_image.values():
        count = -(-len(texts) // most)
        groups += [texts[i::count] for i in range(count)]
    return groups
