"""``$: coco``: the category names of a dataset that mmdet knows, in place of a prompt."""

from collections.abc import Sequence

from .prompts import PromptError

MARK = '$:'


def expand_dataset(text: str | Sequence[str]) -> str | Sequence[str]:
    """Category names for ``'$: NAME'``, as in mmdet's ``image_demo.py``; other texts as they are.

    Args:
        text: a prompt.

    Raises:
        PromptError: mmdet does not know the dataset, or is not installed.
    """
    if not isinstance(text, str) or not text.lstrip().startswith(MARK):
        return text
    try:
        from mmdet.evaluation.functional import class_names  # imports much
    except ImportError as error:  # beside an exported model
        raise PromptError(
            f'{text!r} stands for names that mmdet knows, which is not installed: give the names'
        ) from error

    name = text.strip()[len(MARK) :].strip()
    known = sorted(alias for aliases in class_names.dataset_aliases.values() for alias in aliases)
    if name not in known:
        raise PromptError(
            f'{text!r} stands for the categories of a dataset, but mmdet does not know {name!r}: '
            f'it knows {", ".join(known)}'
        )
    return list(class_names.get_classes(name))
