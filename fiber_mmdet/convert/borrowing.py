"""One of our checkpoints with what a file of another system has: a start for training."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.borrowed import Borrowed
from fiber_mmdet.checkpoints.fitting import fit
from fiber_mmdet.checkpoints.names import MODEL_HAS_NONE, PATCH_WEIGHT, first_match
from fiber_mmdet.checkpoints.published_layout import rename_tensor
from fiber_mmdet.checkpoints.reading import compact, official_weights, read_checkpoint
from fiber_mmdet.outputs import OutputError, output_path, refuse_inputs, writing
from fiber_mmdet.version import __version__

from .donors import PARTS, Donor, find_donor, part_of
from .donors.colours import Colours, repaint

BLOCK = r'bbox_head\.tower\.\d+\.'
IMAGE_NORM = r'image_norm\..*'
ALWAYS_FRESH = {r'backbone\.text\.prompt_rows': 'starts at zero'}
PATCH_BIAS = PATCH_WEIGHT.replace('.weight', '.bias')


def borrow_file(
    src: str | Path,
    dst: str | Path,
    model: nn.Module,
    colours: Callable[[], Colours],
    parts: Sequence[str] | None = None,
    log: Callable[[str], None] = print,
) -> Conversion:
    """Write what a model can have of another system's file, and report what became of every key.

    Args:
        src: the donor's file.
        dst: the file to write, for ``load_from``: ``state_dict`` and ``meta``.
        model: the model; only its keys and shapes are read.
        colours: those that the model gives its image tower; called if that is filled.
        parts: parts of the model to fill; None for what the donor is good for.
        log: receives the report line by line.

    Returns:
        The conversion.

    Raises:
        ConversionError: the file cannot be read, is of no system that lends weights, does not fit,
            or the new one cannot be written.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    try:
        refuse_inputs([output_path(dst)], [src])
    except OutputError as error:
        raise ConversionError(str(error)) from error
    weights = official_weights(read_checkpoint(src), name=str(src))
    try:
        donor = find_donor(weights)
        log(f'{src} is a checkpoint of {donor.name}')
        found, taken = borrow(weights, donor, model.state_dict(), colours, parts)
    except ConversionError as error:
        raise ConversionError(f'{src}: {error}') from None
    found.state = {key: compact(value) for key, value in found.state.items()}
    mark = Borrowed(donor.name, src.name, taken, found.fresh)
    content = dict(state_dict=found.state, meta=dict(mark.as_meta(), fiber_mmdet=__version__))
    try:
        with writing(dst) as part:
            torch.save(content, part)
    except (OSError, RuntimeError) as error:
        raise ConversionError(f'{dst}: cannot be written ({error})') from error
    for line in found.report():
        log(line)
    log(f'{src} -> {dst}: {mark}; {len(found.state)} weights for load_from')
    return found


def borrow(
    weights: Mapping[str, Tensor],
    donor: Donor,
    wanted: Mapping[str, Tensor],
    colours: Callable[[], Colours],
    parts: Sequence[str] | None = None,
) -> tuple[Conversion, tuple[str, ...]]:
    """A donor's weights under our names, fitted to a model.

    Args:
        weights: the donor's key -> tensor.
        donor: the system that they are of.
        wanted: state dict of the model, of which only keys and shapes are read.
        colours: see :func:`borrow_file`.
        parts: see :func:`borrow_file`.

    Returns:
        The conversion, in which every key of both sides is accounted for, and the parts taken.

    Raises:
        ConversionError: unknown parts, or ones that one side does not have; a key without a place,
            missing or of another shape. All are listed.
    """
    taken = _choose(donor, parts, wanted)
    found = _collect(weights, donor, wanted, taken)
    _add_made(found, weights, donor, wanted, taken)
    _leave_other_laterals(found, wanted)
    if all(
        key in found.state and found.state[key].shape == wanted[key].shape
        for key in (PATCH_WEIGHT, PATCH_BIAS)
    ):
        weight, bias, done = repaint(
            found.state[PATCH_WEIGHT], found.state[PATCH_BIAS], donor.colours, colours()
        )
        found.state.update({PATCH_WEIGHT: weight, PATCH_BIAS: bias})
        found.notes += done
    for key in wanted:
        if key not in found.state and key not in found.fresh:
            why = _why_fresh(key, donor, taken, found.state)
            if why is not None:
                found.fresh[key] = why
    fit(found, wanted, resize=True)
    found.refuse_problems(
        f'was recognised as {donor.name}, but does not fit the config: keys at fault',
        _way_out(found, taken),
    )
    if not found.state:
        raise ConversionError(f'has nothing for the parts {", ".join(taken)}')
    found.notes += donor.notes
    return found, taken


def _choose(donor: Donor, parts: Sequence[str] | None, wanted: Iterable[str]) -> tuple[str, ...]:
    """The parts to fill, in the order of the table.

    Raises:
        ConversionError: see :func:`borrow`.
    """
    has = {part_of(key) for key in wanted}
    possible = tuple(part for part in donor.parts if part in has)
    if not possible:
        raise ConversionError(
            f'{donor.name} lends {", ".join(donor.parts)}, and the model of the config has none '
            'of them'
        )
    if parts is None:
        return donor.default_parts(possible)
    if not parts:
        raise ConversionError(f'no part is named: {donor.name} can fill {", ".join(possible)}')
    for part in parts:
        if part not in PARTS:
            raise ConversionError(f'no part is called {part!r}: there are {", ".join(PARTS)}')
        if part not in donor.parts:
            raise ConversionError(
                f'{donor.name} has no {part!r} to lend, only {", ".join(donor.parts)}'
            )
        if part not in has:
            raise ConversionError(
                f'the model of the config has no {part!r}; {donor.name} can fill '
                f'{", ".join(possible)}'
            )
    return tuple(part for part in donor.parts if part in parts)


def _collect(
    weights: Mapping[str, Tensor], donor: Donor, wanted: Mapping[str, Tensor], taken: Sequence[str]
) -> Conversion:
    """What the rules say of every key of the donor."""
    found = Conversion()
    has = {part_of(key) for key in wanted}
    for key, value in weights.items():
        place = donor.place(key)
        if place is None:
            why = donor.why_unused(key)
            if why is None:
                found.unknown[key] = 'unknown name'
            else:
                found.reasons[key] = why
            continue
        rule, names = place
        part = part_of(names[0])
        if part in has and part not in taken:
            found.reasons[key] = _not_taken(donor, part)
        elif all(name in wanted for name in names):
            rename_tensor(found, key, value, rule, names)
        else:
            why = _why_surplus(names[0], wanted) or donor.why_unused(key)
            if why is None and part not in has:
                why = f'the model has no {part or names[0]}'
            if why is None:
                found.unknown[key] = f'the model has no {", ".join(names)}'
            else:
                found.reasons[key] = why
    return found


def _why_surplus(name: str, wanted: Iterable[str]) -> str | None:
    """Why a model need not have one of our keys; None if it should."""
    block = re.match(BLOCK, name)
    if block and not any(key.startswith(block[0]) for key in wanted):
        return 'the tower of the model has fewer blocks'
    return first_match({**MODEL_HAS_NONE, IMAGE_NORM: 'the model has no such norm'}, name)


def _not_taken(donor: Donor, part: str | None) -> str:
    why = donor.optional.get(part or '')
    return f'{part}: not asked for' + (f', {why}' if why else '')


def _add_made(
    found: Conversion,
    weights: Mapping[str, Tensor],
    donor: Donor,
    wanted: Mapping[str, Tensor],
    taken: Sequence[str],
) -> None:
    """Weights that are computed from several of the donor's."""
    holders: dict[str, list[str]] = defaultdict(list)
    try:
        made = [one for one in donor.make(weights, wanted) if one.key in wanted]
    except (RuntimeError, IndexError) as error:  # shapes that do not go together
        raise ConversionError(f'does not have the shapes of {donor.name} ({error})') from error
    for one in made:
        part = part_of(one.key)
        if part in taken:
            found.state[one.key] = one.value
            for source in one.sources:
                holders[source].append(one.key)
                found.reasons.pop(source, None)
        else:
            for source in one.sources:
                if source not in found.renamed and source not in holders:
                    found.reasons[source] = _not_taken(donor, part)
    for source, keys in holders.items():
        found.reasons.pop(source, None)
        found.renamed[source] = (*found.renamed.get(source, ()), *keys)


def _leave_other_laterals(found: Conversion, wanted: Mapping[str, Tensor]) -> None:
    """Set aside laterals of the pyramid that read an image level of another width."""
    for key in [key for key in found.state if re.fullmatch(r'neck\.lateral_convs\..*weight', key)]:
        theirs, ours = found.state[key].shape, wanted[key].shape
        if len(theirs) == len(ours) and theirs[0] == ours[0] and theirs[1] != ours[1]:
            why = f'reads {theirs[1]} channels, the level of the model has {ours[1]}'
            for own in (key, key.replace('.weight', '.bias')):
                found.state.pop(own, None)
                found.fresh[own] = why
                for source in [k for k, names in found.renamed.items() if own in names]:
                    del found.renamed[source]
                    found.reasons[source] = why


def _why_fresh(
    key: str, donor: Donor, taken: Sequence[str], state: Mapping[str, Tensor]
) -> str | None:
    """Why a key of the model need not be in the file; None if it should be."""
    part = part_of(key)
    if part is None or part not in donor.parts:
        return f'{donor.name} has none'
    if part not in taken:
        return f'{part}: not asked for'
    block = re.match(BLOCK, key)
    if block and not any(one.startswith(block[0]) for one in state):
        return f'the tower of {donor.name} has fewer blocks'
    return first_match({**donor.lacks, **ALWAYS_FRESH}, key)


def _way_out(found: Conversion, taken: Sequence[str]) -> str:
    """What to do about parts that do not fit."""
    at_fault = {part_of(key) for key in (*found.missing, *found.misshapen)}
    rest = [part for part in taken if part not in at_fault]
    if not rest or at_fault <= {None}:
        return 'take the config of a model of the same size, or name the parts that fit: --parts'
    return f'take the config of a model of the same size, or what fits: --parts {",".join(rest)}'
