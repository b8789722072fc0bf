"""What is known of a system that lends weights: its names, its colours, what it can fill."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fiber_mmdet.checkpoints.names import first_match
from fiber_mmdet.checkpoints.rules import Rule
from fiber_mmdet.models.backbone.fusion import CROSS_MODAL

from .colours import IMAGENET, Colours

# Parts of our models as regular expressions of keys; the first that matches counts.
PARTS = {
    'attention': CROSS_MODAL,
    'image': r'(backbone\.image|image_norm)\..*',
    'text': r'backbone\.text\..*',
    'neck': r'neck\..*',
    'tower': r'bbox_head\.tower\..*',
    'boxes': r'bbox_head\.(box_conv|centerness_conv|scales)\..*',
    'words': r'words\..*',
    'readouts': r'fused\..*',
    'itm': r'heads\.itm\..*',
}

# Of files that keep a tower's buffers.
BUFFERS = {
    r'.*\.relative_position_index': 'derived: index of the bias table',
    r'.*\.attn_mask': 'derived: shift mask',
    r'.*\.embeddings\.(position|token_type)_ids': 'derived: token positions',
}


def part_of(key: str) -> str | None:
    """The part of the model that one of our keys belongs to; None for what no system lends."""
    return next((part for part, pattern in PARTS.items() if re.fullmatch(pattern, key)), None)


@dataclass(frozen=True)
class Made:
    """A weight of ours that is computed from several of a donor's.

    Attributes:
        key: our key.
        value: the weight.
        sources: keys of the donor that it was computed from.
    """

    key: str
    value: Tensor
    sources: tuple[str, ...]


def no_more(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterable[Made]:
    """Nothing is computed: the rules say all."""
    return ()


@dataclass(frozen=True)
class Donor:
    """A system that lends weights, in one layout of its files.

    Attributes:
        name: what people call it, as in :mod:`fiber_mmdet.checkpoints.other_systems`.
        rules: its names and ours.
        unused: regular expression of a key that has no rule, or whose place the model does not
            have -> why it is not needed.
        parts: parts that it can fill, of :data:`PARTS`.
        optional: parts among them that are taken only if asked for -> why.
        lacks: regular expression of our keys that it does not have although they belong to a part
            that it fills -> why.
        colours: what its image tower was trained on.
        make: computes weights from several: the donor's weights, the model's (of which shapes are
            read) -> what was made.
        notes: what the user should know, one sentence each.
    """

    name: str
    rules: tuple[Rule, ...]
    unused: Mapping[str, str]
    parts: tuple[str, ...]
    optional: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    colours: Colours = IMAGENET
    make: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Iterable[Made]] = no_more
    notes: tuple[str, ...] = ()

    def place(self, key: str) -> tuple[Rule, tuple[str, ...]] | None:
        """The rule of one of its keys, and our keys; None if there is no rule."""
        for rule in self.rules:
            fields = rule.match_official(key)
            if fields is not None:
                return rule, tuple(name.format(**fields) for name in rule.ours)
        return None

    def why_unused(self, key: str) -> str | None:
        """Why one of its keys is not needed; None if it is not known."""
        return first_match(self.unused, key)

    def default_parts(self, model_parts: Collection[str]) -> tuple[str, ...]:
        """What it fills in a model with these parts, unless told otherwise."""
        return tuple(
            part for part in self.parts if part in model_parts and part not in self.optional
        )
