"""What a training pipeline does to images, if that is the same every time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.prefix_store import PrefixCacheError

from .dataset_tree import type_name

LOADER = 'LoadImageFromFile'
CACHED = 'CachedPrefixes'
MIRROR = 'mirror'
# transforms whose result for an image depends on the image and their arguments alone
FIXED = {'Resize', 'ShortSideResize', 'FixScaleResize', 'FixShapeResize', 'Pad', 'CenterCrop'}
# those that change boxes and texts, not the image
BESIDES = {
    'DescribeCaptions',
    'DescribeCategories',
    'EachText',
    'FilterAnnotations',
    'InclusiveBoxes',
    'LoadAnnotations',
    'PackDetInputs',
    'PackImageText',
    'RandomSamplingNegPos',
    'SampleCategories',
    'TagsFromTexts',
}
FLIPS = {'CaptionFlip', 'FlipViews', 'RandomFlip', 'RandomFlip_GLIP'}


@dataclass(frozen=True)
class ImageRecipe:
    """How images are prepared.

    Attributes:
        steps: configs of transforms of single images, in order; one of them may be of type
            ``MIRROR``.
        end: number of steps of the pipeline up to and with the last one that changes images.
    """

    steps: tuple[dict, ...]
    end: int

    @property
    def mirrors(self) -> bool:
        """Whether images are mirrored at random."""
        return any(step['type'] == MIRROR for step in self.steps)

    @property
    def plain(self) -> list[dict]:
        """The steps of a cache, with a mark where mirrored copies are mirrored."""
        return [dict(step) for step in self.steps]


def image_recipe(pipeline: Sequence[Any], where: str = 'the pipeline') -> ImageRecipe:
    """What the steps of a pipeline do to images.

    Args:
        pipeline: configs of transforms; those inside ``EachView`` and ``CachedPrefixes`` count.
        where: the pipeline, for messages.

    Raises:
        PrefixCacheError: images are not read from files, or a step changes them at random (except
            by mirroring them) or in a way that is not known.
    """
    if len(pipeline) == 1 and isinstance(pipeline[0], Mapping):
        if type_name(pipeline[0]) == CACHED:
            pipeline = pipeline[0]['transforms']
    steps: list[dict] = []
    end = 0
    for number, step in enumerate(pipeline, 1):
        found = list(_of_images(step, where))
        steps += found
        if found:
            end = number
    if not steps or steps[0]['type'] != LOADER:
        raise PrefixCacheError(
            f'{where} does not begin by reading images with {LOADER}: only their prefixes can be '
            'cached'
        )
    if sum(step['type'] == MIRROR for step in steps) > 1:
        raise PrefixCacheError(
            f'{where} mirrors images in two steps: leave one of them out, a cache holds an image '
            'and its mirrored copy'
        )
    return ImageRecipe(tuple(steps), end)


def _of_images(step: Any, where: str) -> Iterator[dict]:
    """The transforms of images in a step; none if it leaves them alone."""
    if not isinstance(step, Mapping):
        raise PrefixCacheError(
            f'{where} has a {type(step).__name__}, not the config of a transform: what it does to '
            'images is not known, so that their prefixes cannot be cached'
        )
    name = type_name(step)
    if name == 'EachView':
        for inner in step['transforms']:
            yield from _of_images(inner, where)
    elif name == 'EachText':
        inner = [found for one in step['transforms'] for found in _of_images(one, where)]
        if inner:
            raise PrefixCacheError(
                f'{inner[0]["type"]} inside EachText of {where} changes images: put it before '
                'EachText'
            )
    elif name in FLIPS:
        yield from _flip(step, name, where)
    elif name in FIXED or name == LOADER:
        yield plain_step(dict(step, type=name))
    elif name not in BESIDES:
        raise PrefixCacheError(
            f'{name} of {where} changes images at random, or in a way that is not known: prefixes '
            f'are cached of images that are the same every time. Leave it out, or replace it by '
            f'one of {", ".join(sorted(FIXED))} (mirroring may stay)'
        )


def _flip(step: Mapping[str, Any], name: str, where: str) -> Iterator[dict]:
    prob, direction = step.get('prob'), step.get('direction', 'horizontal')
    if not isinstance(prob, (int, float)) or direction != 'horizontal':
        raise PrefixCacheError(
            f'{name} of {where} has prob={prob!r} and direction={direction!r}: only mirroring from '
            'left to right, with one probability, can be cached'
        )
    if prob:
        yield dict(type=MIRROR)


def plain_step(value: Any) -> Any:
    """Plain values, as json has them."""
    if isinstance(value, Mapping):
        return {str(key): plain_step(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [plain_step(one) for one in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return getattr(value, '__name__', None) or repr(value)
