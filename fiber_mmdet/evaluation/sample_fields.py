"""Fields of data samples, with a clear error where one is missing."""

from typing import Any


def field(sample: dict, name: str, remedy: str = '') -> Any:
    """A field of a sample.

    Args:
        sample: a data sample as a dict.
        name: of the field.
        remedy: what else an error says.

    Raises:
        KeyError: the sample lacks it.
    """
    if name not in sample:
        known = ', '.join(map(repr, sample))
        raise KeyError(
            f'a sample has no {name!r} (it has {known}): the data set and meta_keys of '
            'PackImageText, or the heads in predict_with, must provide it'
            + (f'; {remedy}' if remedy else '')
        )
    return sample[name]
