"""State dicts between the official layouts and ours, every key accounted for."""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from .names import COARSE_IMAGE, DROPPED, EXTRAS, FINE_IMAGE, RULES


class ConversionError(ValueError):
    """A checkpoint that cannot be converted; the message lists the keys at fault."""


@dataclass
class Conversion:
    """Outcome of a conversion.

    Attributes:
        state: converted tensors.
        extras: official entries without a counterpart, kept for the way back.
        renamed: old key -> new keys.
        reasons: key without a counterpart -> why; it is an extra or was dropped.
        unknown: keys that fit neither the table nor the known extras.
        fresh: keys of the model that the checkpoint does not have, left as they are.
        notes: what else the user should know, one sentence each.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    renamed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def detect_layout(keys: Collection[str]) -> tuple[str, bool]:
    """Tell which official layout a state dict has.

    Args:
        keys: its keys, without a ``module.`` prefix.

    Returns:
        'fine' or 'coarse', and whether it has the image query norm (``i2t_norm``).

    Raises:
        ConversionError: for the early layout without gates, or none of these.
    """
    if any('cross_modal_image_transform2' in key for key in keys):
        raise ConversionError(
            'this is the first, ungated layout of FIBER (it has '
            '`cross_modal_image_transform2`); it is not supported: take the '
            'weights of the second or third layout'
        )
    norm = any('.norm_i2t_i.' in key for key in keys)
    if any(key.startswith(FINE_IMAGE) for key in keys):
        return 'fine', norm
    if any(key.startswith(COARSE_IMAGE) for key in keys):
        return 'coarse', norm
    example = next(iter(keys), 'none')
    raise ConversionError(
        f'not an official FIBER checkpoint: no key starts with {FINE_IMAGE!r} '
        f'or {COARSE_IMAGE!r} (first key: {example!r})'
    )


def from_official(
    state: Mapping[str, Tensor], layout: str, wanted: Collection[str] | None = None
) -> Conversion:
    """Official tensors under our names.

    Args:
        state: official key -> tensor.
        layout: 'fine' or 'coarse'.
        wanted: keys of the model. A key outside goes to the extras if it is a
            known one (a gate of an unfused layer), else to ``unknown``. What is as
            large as a model and made anew by training is dropped.

    Returns:
        The conversion; ``unknown`` is left for the caller to judge.
    """
    result = Conversion()
    for key, tensor in state.items():
        hit = next(
            (
                (rule, fields)
                for rule in RULES[layout]
                if (fields := rule.match_official(key)) is not None
            ),
            None,
        )
        names = tuple(name.format(**hit[1]) for name in hit[0].ours) if hit else ()
        if hit and (wanted is None or all(name in wanted for name in names)):
            result.renamed[key] = names
            result.state.update(zip(names, hit[0].import_tensor(tensor)))
            continue
        dropped, kept = _reason(DROPPED[layout], key), _reason(EXTRAS[layout], key)
        if dropped is None and kept is None:
            result.unknown.append(key)
            continue
        result.reasons[key] = dropped or kept
        if dropped is None:
            result.extras[key] = tensor
    return result


def _reason(reasons: Mapping[str, str], key: str) -> str | None:
    return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, key)), None)


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
    """
    result = Conversion(state=dict(extras or {}))
    parts: dict[str, dict[int, Tensor]] = defaultdict(dict)
    used = {}
    for key, tensor in state.items():
        hit = _find_ours(key, layout)
        if hit is None:
            result.unknown.append(key)
            continue
        rule, fields, position = hit
        official = rule.official.format(**fields)
        parts[official][position] = tensor
        used[official] = rule
        result.renamed[key] = (official,)
    for official, rule in used.items():
        found = parts[official]
        if len(found) < len(rule.ours):
            raise ConversionError(
                f'{official} needs {len(rule.ours)} of our tensors, {len(found)} found'
            )
        result.state[official] = rule.export_tensor([found[i] for i in range(len(rule.ours))])
    return result


def _find_ours(key: str, layout: str):
    for rule in RULES[layout]:
        for position in range(len(rule.ours)):
            fields = rule.match_ours(key, position)
            if fields is not None:
                return rule, fields, position
    return None


def resize_bias_table(table: Tensor, rows: int) -> Tensor:
    """A relative position bias table for windows of another size (bicubic, as the reference).

    Args:
        table: ((2w - 1)^2, heads).
        rows: (2v - 1)^2 for the new window side v.

    Returns:
        (rows, heads), the table itself if it has as many rows.
    """
    if len(table) == rows:
        return table
    old, new = math.isqrt(len(table)), math.isqrt(rows)
    grid = table.float().T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode='bicubic', align_corners=False)
    return grid.reshape(-1, rows).T.contiguous().to(table.dtype)
