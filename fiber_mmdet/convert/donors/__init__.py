"""Systems that lend weights: tables of their names and ours, a file per family."""

from collections.abc import Collection

from fiber_mmdet.checkpoints.account import ConversionError
from fiber_mmdet.checkpoints.other_systems import FIBER, advice, is_volta, recognise

from .bridgetower import BRIDGETOWER
from .donor import PARTS, Donor, part_of
from .glip import mmdet, official
from .grounding_dino import MMDET, OFFICIAL
from .meter import METER
from .volta import VOLTA
from .xvlm import XVLM

DONORS = {
    donor.name: donor
    for donor in (
        METER,
        *(layout(early) for layout in (official, mmdet) for early in (True, False)),
        MMDET,
        OFFICIAL,
        XVLM,
        BRIDGETOWER,
        VOLTA,
    )
}

OWN = (FIBER, 'backbone.image.')  # begin keys of FIBER's and our files

__all__ = ['DONORS', 'PARTS', 'Donor', 'find_donor', 'part_of']


def find_donor(keys: Collection[str]) -> Donor:
    """The system that a state dict is of.

    Args:
        keys: its keys, without a ``module.`` prefix.

    Raises:
        ConversionError: none that lends weights.
    """
    if is_volta(keys):
        return VOLTA
    system = recognise(keys)
    if system is None and any(key.startswith(OWN) for key in keys):
        raise ConversionError(
            'is a checkpoint of FIBER itself, which needs no borrowing: load_from takes it as it '
            'is, or model.backbone.pretrained.towers for another kind of model'
        )
    if system is None:
        raise ConversionError(
            f'is not of a system that lends weights, which are {", ".join(DONORS)} (first key: '
            f'{next(iter(keys), "none")!r}). A checkpoint of FIBER is converted by '
            '`fiber convert`'
        )
    if system.name not in DONORS:
        raise ConversionError(f'is a checkpoint of {system.name}: {advice(system)}')
    return DONORS[system.name]
