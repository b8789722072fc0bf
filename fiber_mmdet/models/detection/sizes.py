"""Sizes of the detector that have to fit each other."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..backbone import FIBERBackbone
from ..backbone.sizes import BackboneSizes, backbone_sizes, token_problems
from ..sizes import Options, class_of, is_kind, is_whole
from .dyhead import NORM_GROUPS
from .fpn import FIBERFPN
from .grounding_head import GroundingHead


def detector_problems(
    backbone: Mapping, neck: Mapping, bbox_head: Mapping, tokenizer: Mapping
) -> Iterator[str]:
    """What does not fit in the configs of a detector's parts.

    Parts of other classes are not compared, except for what a :class:`FIBERBackbone` and mmdet's
    usual options tell.

    Yields:
        A sentence for each misfit, with the options by their paths.
    """
    kinds = [class_of(cfg) for cfg in (backbone, neck, bbox_head)]
    if not is_kind(kinds[0], FIBERBackbone):
        return
    sizes = backbone_sizes(backbone, kinds[0])
    yield from sizes.problems
    fpn = Options(neck, 'neck.', kinds[1]) if kinds[1] is not None else None
    head = Options(bbox_head, 'bbox_head.', kinds[2]) if is_kind(kinds[2], GroundingHead) else None
    if fpn is not None and 'in_channels' in fpn.values:
        yield from _levels(sizes, fpn)
    if head is not None:
        yield from _head(sizes, head)
        if fpn is not None:
            yield from _pyramid(sizes, fpn, head, is_kind(kinds[1], FIBERFPN))
    yield from token_problems(
        sizes, tokenizer, head.max_tokens if head else None, 'bbox_head.max_tokens'
    )


def _levels(sizes: BackboneSizes, fpn: Options) -> Iterator[str]:
    given = fpn.in_channels
    if sizes.levels is not None and isinstance(given, (list, tuple)):
        if list(given) != sizes.levels:
            yield (
                f'{sizes.image_said} make levels of {sizes.levels} channels, but '
                f'{fpn.named("in_channels")}'
            )


def _head(sizes: BackboneSizes, head: Options) -> Iterator[str]:
    if sizes.text_dim is not None and head.text_dim != sizes.text_dim:
        yield f'{sizes.text_said}, but {head.named("text_dim")}: they must be the same'
    if is_whole(head.channels) and head.channels % NORM_GROUPS:
        yield (
            f'{head.named("channels")} must be a multiple of {NORM_GROUPS}, the groups of the '
            "tower's norms"
        )


def _pyramid(sizes: BackboneSizes, fpn: Options, head: Options, ours: bool) -> Iterator[str]:
    outs: Any = fpn.values.get('num_outs')
    if 'out_channels' in fpn.values and fpn.out_channels != head.channels:
        yield f'{fpn.named("out_channels")}, but {head.named("channels")}: they must be the same'
    if not is_whole(outs):
        return
    if outs != len(head.strides):
        yield (
            f'{fpn.named("num_outs")}, but {head.named("strides")} has {len(head.strides)} '
            'entries: one for each level'
        )
    if not ours or not sizes.strides:
        return
    if outs < len(sizes.strides):
        yield f'{fpn.named("num_outs")} is less than the levels of {sizes.image_said}'
        return
    wanted = list(sizes.strides)
    while len(wanted) < outs:  # strided convolutions on top
        wanted.append(2 * wanted[-1])
    if outs == len(head.strides) and list(head.strides) != wanted:
        yield (
            f'{sizes.image_said} make a pyramid of {wanted} pixels per position, but '
            f'{head.named("strides")}'
        )
    elif any(b != 2 * a for a, b in zip(wanted, wanted[1:])):
        yield f'{sizes.image_said}: the levels must follow one another, for the tower joins them'
