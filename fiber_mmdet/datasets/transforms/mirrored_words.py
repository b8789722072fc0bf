"""Pipelines that mirror images, but not the words "left" and "right" of their prompts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmcv.transforms import RandomFlip
from mmengine.dataset import BaseDataset

from .caption_flip import SIDE, CaptionFlip

SEARCHED = 2000  # captions, spread over the dataset
ALBUMENTATIONS = {'D4', 'Flip', 'HorizontalFlip', 'Transpose'}


def unmirrored_words(steps: Iterable[Any], dataset: BaseDataset) -> str | None:
    """What is wrong with mirroring the images of a dataset by other steps than ``CaptionFlip``.

    Args:
        steps: transforms of the training pipeline.
        dataset: of the detector; its category names and some of its captions are searched for
            "left" and "right".

    Returns:
        A message; None if no other step mirrors, or no prompt names a side.
    """
    step = mirroring_step(steps)
    if step is None:
        return None
    said = next(filter(SIDE.search, _prompts(dataset)), None)
    if said is None:
        return None
    return (
        f'{step} mirrors images and boxes, but not the words of prompts such as {said!r}: use '
        'CaptionFlip(prob=0.5, swap_words=True) in its place'
    )


def mirroring_step(steps: Iterable[Any]) -> str | None:
    """The name of the first transform that mirrors images from left to right, also inside others.

    ``CaptionFlip`` is left out, which takes care of the words.
    """
    for step in _flat(steps):
        if isinstance(step, Mapping) and step.get('type') in ALBUMENTATIONS:
            return str(step['type'])
        if (
            isinstance(step, RandomFlip)
            and not isinstance(step, CaptionFlip)
            and _flips_sideways(step)
        ):
            return type(step).__name__
    return None


def _flat(steps: Any) -> Iterator[Any]:
    """Transforms, or configs of them, with those inside each."""
    if isinstance(steps, (list, tuple)):
        for step in steps:
            yield from _flat(step)
        return
    yield steps
    inner = steps.get('transforms') if isinstance(steps, Mapping) else None
    inner = getattr(steps, 'transforms', inner)
    if inner is not None:
        yield from _flat(inner)


def _flips_sideways(step: RandomFlip) -> bool:
    directions = [step.direction] if isinstance(step.direction, str) else step.direction
    chances = step.prob if isinstance(step.prob, list) else [step.prob] * len(directions)
    return any(
        chance and direction in ('horizontal', 'diagonal')
        for direction, chance in zip(directions, chances)
    )


def _prompts(dataset: BaseDataset) -> Iterator[str]:
    """Category names with the words around them, then captions."""
    words = getattr(dataset, 'caption_prompt', None) or {}
    for name in dataset.metainfo.get('classes') or ():
        around = words.get(name, {}) if isinstance(words, Mapping) else {}
        yield ' '.join([name, *around.values()])
    for index in range(0, len(dataset), max(1, len(dataset) // SEARCHED)):
        record = dataset.get_data_info(index)
        for fields in record.get('texts', [record]):
            if isinstance(fields.get('text'), str):
                yield fields['text']
