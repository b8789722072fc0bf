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
    MMDET_SWIN,
    RULES,
    Rule,
    first_match,
    has_query_norm,
)

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
        ConversionError: for the early layout without gates, or none of these.
    """
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
            try:
                parts = rule.import_tensor(tensor)
            except RuntimeError:
                parts = []
            if len(parts) == len(names):
                result.renamed[key] = names
                result.state.update(zip(names, parts))
            else:
                result.unknown[key] = f'the shape {tuple(tensor.shape)} is none of {names[0]}'
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


def from_swin(weights: Mapping[str, Tensor], wanted: Collection[str]) -> Conversion:
    """A Swin checkpoint under our names.

    Args:
        weights: in Swin's own names or mmdet's, alone or as the ``backbone.`` of a detector.
        wanted: keys of the model.

    Returns:
        The conversion; its other keys are Swin's own.
    """
    prefix = 'backbone.'
    backbone, reasons = dict(weights), {}
    if any(key.startswith(prefix) for key in weights):
        reasons = {key: 'not of the backbone' for key in weights if not key.startswith(prefix)}
        backbone = {
            key.removeprefix(prefix): value for key, value in weights.items() if key not in reasons
        }
    if any(key.startswith('stages.') for key in backbone):
        backbone = {
            _swin_name(key): from_unfold(value)
            if '.downsample.' in key and _merges(value)
            else value
            for key, value in backbone.items()
        }
    found = from_official(backbone, 'public', wanted)
    found.reasons.update(reasons)
    return found


def _merges(value: Tensor) -> bool:
    """Whether a tensor (…) can be of patch merging, which joins four positions."""
    return value.dim() > 0 and value.shape[-1] % 4 == 0


def _swin_name(key: str) -> str:
    for mmdet, swin in MMDET_SWIN:
        key = key.replace(mmdet, swin)
    return key


def from_unfold(x: Tensor) -> Tensor:
    """Patch merging's input channels from mmdet's order to Swin's.

    ``nn.Unfold`` has the channels outside and the four positions inside, in the order
    (row, column) = 00, 01, 10, 11; Swin the positions outside, in the order 00, 10, 01, 11.

    Args:
        x: (…, 4C) a weight or bias of patch merging, in mmdet's order.

    Returns:
        (…, 4C) the same in Swin's order.
    """
    return x.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)
