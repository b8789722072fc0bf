"""Whether a checkpoint belongs to a model, and if not, why."""

from collections.abc import Mapping

from torch import Tensor, nn

from .published_layout import ConversionError, detect_layout
from .reading import official_weights, our_weights


class MisfitError(ValueError):
    """A checkpoint of another model; the message says how it differs and what to do."""


def fitting_weights(checkpoint: Mapping, model: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights of a checkpoint, if they are exactly those of the model.

    Args:
        checkpoint: in our layout, mmengine's or a bare state dict.
        model: what they are meant for.
        name: the checkpoint's name in error messages.

    Returns:
        The state dict.

    Raises:
        MisfitError: official layout, or keys or shapes that differ.
    """
    refuse_official(checkpoint, name)
    state = our_weights(checkpoint)
    difference = compare(state, model.state_dict())
    if difference:
        raise MisfitError(
            f'{name} does not fit the config: {difference}. Pass the config this checkpoint was '
            'trained with. Weights of another layout are turned into ours by '
            'tools/convert_checkpoint.py'
        )
    return state


def refuse_official(checkpoint: Mapping, name: str) -> None:
    """Raise :class:`MisfitError` for a checkpoint that has not been converted."""
    try:
        detect_layout(official_weights(checkpoint).keys())
    except ConversionError:
        return
    raise MisfitError(
        f'{name} is an official FIBER checkpoint: convert it first, '
        f'python tools/convert_checkpoint.py {name} ours.pth --config …'
    )


def refuse_stranger(checkpoint: Mapping, model: nn.Module, name: str) -> None:
    """Raise :class:`MisfitError` for weights from which a model cannot even start.

    Official layout, another layout of the image query, or no key in common.
    """
    refuse_official(checkpoint, name)
    state, wanted = our_weights(checkpoint), model.state_dict()
    if not set(state).intersection(wanted):
        raise MisfitError(
            f'{name} shares no key with the model (first key: '
            f'{next(iter(state), "none")!r}): is it a checkpoint of this project?'
        )
    towers = [any('.text_attention.' in key for key in keys) for keys in (state, wanted)]
    norms = [any('.query_norm.' in key for key in keys) for keys in (state, wanted)]
    if all(towers) and norms[0] != norms[1]:
        raise MisfitError(
            f'{name} was made with i2t_norm={norms[0]}, the config says '
            f'{norms[1]}: set model.backbone.i2t_norm={norms[0]}'
        )


def compare(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Say how a state dict differs from the one wanted; '' if only in values."""
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    shapes = [
        f'{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}'
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    return '; '.join(
        f'{len(keys)} {what} ({", ".join(keys[:3])}{", …" * (len(keys) > 3)})'
        for what, keys in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', shapes),
        )
        if keys
    )
