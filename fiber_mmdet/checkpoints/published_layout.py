"""State dicts between the published layouts and ours."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

from .account import Conversion, ConversionError
from .names import (
    COARSE_IMAGE,
    DROPPED,
    EXTRAS,
    FINE_IMAGE,
    RULES,
    first_match,
    has_query_norm,
)
from .other_systems import recognise, refuse_other_system
from .rules import Rule

UNGATED = 'cross_modal_image_transform2'


def is_official(keys: Iterable[str]) -> bool:
    """Whether a state dict has the names of an official FIBER checkpoint, of any version.

    Args:
        keys: its keys, without a ``module.`` prefix.
    """
    return any(key.startswith((FINE_IMAGE, COARSE_IMAGE)) or UNGATED in key for key in keys)


def detect_layout(keys: Collection[str]) -> tuple[str, bool]:
    """Which official layout a state dict has.

    Args:
        keys: its keys, without a ``module.`` prefix.

    Returns:
        'fine' or 'coarse', and whether it has the LayerNorm on the image query (``i2t_norm``).

    Raises:
        ConversionError: for the early layout without gates, or none of these; other systems
            whose files are known are named.
    """
    refuse_other_system(keys)
    if any(UNGATED in key for key in keys):
        raise ConversionError(
            f'this is the first, ungated layout of FIBER (it has '
            f'`{UNGATED}`), which is not supported: take the '
            'weights of the second or third layout'
        )
    for layout, prefix in (('fine', FINE_IMAGE), ('coarse', COARSE_IMAGE)):
        if any(key.startswith(prefix) for key in keys):
            return layout, has_query_norm(keys)
    example = next(iter(keys), 'none')
    raise ConversionError(
        f'not an official FIBER checkpoint: no key starts with {FINE_IMAGE!r} '
        f'or {COARSE_IMAGE!r} (first key: {example!r})'
    )


def from_official(
    state: Mapping[str, Tensor], layout: str, wanted: Collection[str] | None = None
) -> Conversion:
    """Published tensors under our names.

    Args:
        state: published key -> tensor.
        layout: 'fine', 'coarse' or 'public'.
        wanted: keys of the model; None for all that have names. A key outside goes to the extras
            if it is a known one (a gate of an unfused layer), else to ``unknown``. What is as
            large as a model and made anew by training is dropped.

    Returns:
        The conversion; ``unknown`` is left for the caller to judge.
    """
    result = Conversion()
    for key, tensor in state.items():
        names: tuple[str, ...] = ()
        for rule in RULES[layout]:
            fields = rule.match_official(key)
            if fields is not None:
                names = tuple(name.format(**fields) for name in rule.ours)
                break
        if names and (wanted is None or all(name in wanted for name in names)):
            rename_tensor(result, key, tensor, rule, names)
            continue
        dropped, kept = first_match(DROPPED[layout], key), first_match(EXTRAS[layout], key)
        why = dropped or kept
        if why is None:
            result.unknown[key] = (
                f'the model has no {", ".join(names)}' if names else 'unknown name'
            )
            continue
        result.reasons[key] = why
        if dropped is None:
            result.extras[key] = tensor
    return result


def rename_tensor(
    result: Conversion, key: str, tensor: Tensor, rule: Rule, names: tuple[str, ...]
) -> None:
    """Add a published tensor to a conversion, to ``unknown`` if it has a shape without a place.

    Args:
        result: the conversion, changed in place.
        key: published key.
        tensor: (…) its value.
        rule: that of the key.
        names: our keys.
    """
    try:
        parts = rule.import_tensor(tensor)
    except RuntimeError:
        parts = []
    if len(parts) == len(names):
        result.renamed[key] = names
        result.state.update(zip(names, parts))
    else:
        result.unknown[key] = f'the shape {tuple(tensor.shape)} is none of {names[0]}'


def to_official(
    state: Mapping[str, Tensor], layout: str = 'fine', extras: Mapping[str, Tensor] | None = None
) -> Conversion:
    """Our tensors (or gradients) under the official names.

    Args:
        state: our key -> tensor.
        layout: 'fine' or 'coarse'.
        extras: official entries carried along by :func:`from_official`.

    Returns:
        The conversion, extras included in its ``state``.

    Raises:
        ConversionError: one of the two tensors that make an official one is missing.
    """
    result = Conversion(state=dict(extras or {}))
    parts: dict[str, dict[int, Tensor]] = defaultdict(dict)
    rules: dict[str, Rule] = {}
    for key, tensor in state.items():
        place = _find_ours(key, layout)
        if place is None:
            result.unknown[key] = 'no official name'
            continue
        official, position, rule = place
        parts[official][position] = tensor
        rules[official] = rule
        result.renamed[key] = (official,)
    for official, rule in rules.items():
        found = parts[official]
        if len(found) < len(rule.ours):
            raise ConversionError(
                f'{official} needs {len(rule.ours)} of our tensors, {len(found)} found'
            )
        result.state[official] = rule.export_tensor([found[i] for i in range(len(rule.ours))])
    return result


def _find_ours(key: str, layout: str) -> tuple[str, int, Rule] | None:
    """Official name of one of our keys, which part of it the key holds, and the rule."""
    for rule in RULES[layout]:
        for position in range(len(rule.ours)):
            fields = rule.match_ours(key, position)
            if fields is not None:
                return rule.official.format(**fields), position, rule
    return None


# What stands before the names of an image tower in files of others.
SWIN_PREFIXES = (
    'backbone.0.',
    'backbone.body.',
    'vision_encoder.',
    'vit_model.',
    'image_encoder.',
    'backbone.',
    '',
)
# What stands before the names of a text tower.
TEXT_PREFIXES = (
    'text_transformer.',
    'bridgetower.text_model.',
    'text_model.',
    'language_backbone.body.model.',
    'language_model.language_backbone.body.model.',
    'roberta.',
    'bert.',
    '',
)


def find_prefix(weights: Collection[str], prefixes: Collection[str], *telling: str) -> str | None:
    """The first of some prefixes under which a telling key lies; None if there is none.

    Args:
        weights: keys of a state dict.
        prefixes: what may stand before the names of a tower.
        *telling: keys of which one has to lie there.
    """
    found = (one for one in prefixes if any(one + key in weights for key in telling))
    return next(found, None)


def from_swin(weights: Mapping[str, Tensor], wanted: Collection[str]) -> Conversion:
    """A Swin checkpoint under our names.

    Args:
        weights: in Swin's own names or mmdet's, alone or as the image tower of a larger model,
            whose other weights, and the tower's cross-attention if it has any, are set aside.
        wanted: keys of the model.

    Returns:
        The conversion.
    """
    prefix = (
        find_prefix(
            weights, SWIN_PREFIXES, 'patch_embed.proj.weight', 'patch_embed.projection.weight'
        )
        or ''
    )
    reasons = {key: 'not of the image tower' for key in weights if not key.startswith(prefix)}
    tower = {
        key.removeprefix(prefix): value for key, value in weights.items() if key not in reasons
    }
    for key in [key for key in tower if '_i2t' in key]:
        del tower[key]
        reasons[prefix + key] = 'cross-attention'
    found = from_official(tower, 'public', wanted)
    found.put_back(prefix)
    found.reasons.update(reasons)
    system = recognise(weights)
    if system is not None and system.image_note:
        found.notes.append(system.image_note)
    return found
