"""The classes chosen from a file's categories, checked against the file."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mmengine.logging import MMLogger

from fiber_mmdet.text import PromptError, names_that_read_alike


def choose_classes(names: Sequence[str], asked: Sequence[str] | None, source: str) -> list[str]:
    """The classes of a dataset, in the order of its file.

    Args:
        names: category names of the file, in its order.
        asked: the user's choice, in any order; all if None.
        source: what errors call the file.

    Raises:
        ValueError: a class that the file lacks, a name that two of its categories share, or no
            class at all.
    """
    if isinstance(asked, str):
        raise ValueError(
            f'metainfo.classes is the string {asked!r}, which would be read letter by letter: '
            f'write a list or tuple of names, ({asked!r},)'
        )
    counts = Counter(names)
    missing = [name for name in asked or () if name not in counts]
    if missing:
        raise ValueError(
            f'{source} has no category {", ".join(map(repr, missing))}; its categories '
            f'are {", ".join(names)}. Correct metainfo.classes, or leave it out to '
            'take those of the file'
        )
    wanted = counts.keys() if asked is None else set(asked)
    chosen = [name for name in names if name in wanted]
    if not chosen:
        raise ValueError(
            f'{source} has no category to ask for: give it categories, or correct metainfo.classes'
        )
    twice = next((name for name in chosen if counts[name] > 1), None)
    if twice is not None:
        raise ValueError(
            f'{source} has two categories named {twice!r}: rename one of them, or '
            'choose others by metainfo.classes'
        )
    return chosen


def check_caption_prompt(
    caption_prompt: Mapping[str, dict] | None, classes: Sequence[str], source: str
) -> None:
    """Check that ``caption_prompt`` names classes only.

    Args:
        caption_prompt: category -> its wording; None for none.
        classes: of the dataset.
        source: what errors call the file.

    Raises:
        ValueError: it names something else.
    """
    unknown = [name for name in caption_prompt or () if name not in classes]
    if unknown:
        raise ValueError(
            f'caption_prompt names {", ".join(map(repr, unknown))}, which are '
            f'not classes of {source}'
        )


def warn_of_equal_words(
    classes: Sequence[str], caption_prompt: Mapping[str, dict] | None, source: str
) -> None:
    """Log which classes the model cannot tell apart, because they read alike once cleaned.

    Args:
        classes: of the dataset.
        caption_prompt: category -> its wording; None for none.
        source: what the log calls the file.
    """
    try:
        alike = names_that_read_alike(classes, caption_prompt)
    except PromptError:  # of other faults, which the first prompt reports
        return
    for words, names in list(alike.items())[:3]:
        MMLogger.get_current_instance().warning(
            f'{source}: {" and ".join(map(repr, names))} all reach the model as {words!r}: rename '
            'them, or word them by caption_prompt'
        )
