"""What is asked of which model, in plain values that travel to other machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from .places import absolute, is_address
from .rules import Rules

TASKS = ('detect', 'caption', 'answer', 'embed')

Record: TypeAlias = dict[str, Any]


class TaskError(ValueError):
    """A job that makes no sense; the message says what to give."""


@dataclass(frozen=True)
class Task:
    """What is asked of which model.

    Attributes:
        task: one of ``TASKS``.
        config: path or name of a config, or a known model; None for the packaged model. Of
            'detect', any detector of mmdet, too.
        weights: checkpoint or address; None for those of the known or packaged model, or the
            ``load_from`` of the config.
        device: None takes a GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.
        precision: of a FIBER detector; see :class:`~fiber_mmdet.apis.FIBERInferencer`.
        answers: see :class:`~fiber_mmdet.apis.ImageTextInferencer`.
        prompt: what to look for in all images; None if each image has its text, or if the detector
            has names of its own.
        prompt_options: how to read it, see :func:`~fiber_mmdet.apis.inputs.read_query`.
        questions: for 'answer'; empty if each image has its text.
        own_texts: whether each image has its own prompt or question; a source whose ``text_from``
            says where they are sets it.
        rules: what is kept of detections.
        batch_size: images that the model sees together, if they have one size.
    """

    task: str = 'detect'
    config: str | None = None
    weights: str | None = None
    device: str | None = None
    tokenizer: str | None = None
    precision: str | None = None
    answers: str | None = None
    prompt: str | Sequence[str] | None = None
    prompt_options: Mapping[str, Any] = field(default_factory=dict)
    questions: Sequence[str] = ()
    own_texts: bool = False
    rules: Rules = field(default_factory=Rules)
    batch_size: int = 8


def check_prompt(task: Task) -> None:
    """Refuse a task that says not what to look for, or says it twice.

    Raises:
        TaskError: it does.
    """
    if (task.prompt is None) != task.own_texts:
        raise TaskError(
            'say what to look for: a prompt or names for all images, or where the text of each '
            'image is'
        )


def are_names(task: Task) -> bool:
    """Whether a prompt is a vocabulary, and not a text with phrases."""
    from fiber_mmdet.text import has_separators
    from fiber_mmdet.text.dataset_names import expand_dataset

    options = task.prompt_options
    if options.get('tokens_positive') is not None or options.get('phrases') is not None:
        return False
    prompt = expand_dataset(task.prompt) if task.prompt else task.prompt
    if not isinstance(prompt, str) or options.get('descriptions') is not None:
        return True
    given = options.get('custom_entities')
    return has_separators(prompt) if given is None else bool(given)


def with_absolute_paths(task: Task) -> Task:
    """A task whose files are named as processes in other folders name them."""

    def named(value: Any) -> Any:
        if isinstance(value, str) and not is_address(value) and Path(value).expanduser().exists():
            return absolute(value)
        return value

    fields = ('config', 'weights', 'tokenizer', 'answers')
    options = dict(task.prompt_options)
    if 'descriptions' in options:
        options['descriptions'] = named(options['descriptions'])
    return replace(
        task, prompt_options=options, **{name: named(getattr(task, name)) for name in fields}
    )
