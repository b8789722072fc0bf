"""What a checkpoint may hold beside tensors and plain containers, and what stands in for it."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torch

from fiber_mmdet.host import within


class Bookkeeping:
    """Stands for an object that a training framework saved beside the weights; holds nothing."""

    def __new__(cls, *args, **kwargs) -> 'Bookkeeping':
        return object.__new__(cls)

    def __init__(self, *args, **kwargs) -> None:
        pass

    def __setstate__(self, state) -> None:
        pass


class BookkeepingDict(Bookkeeping):
    """Stands for a subclass of dict; becomes an ordinary dictionary."""

    def __new__(cls, *args, **kwargs) -> Any:
        return OrderedDict()


# What mmengine, Lightning and the Swin and FIBER trainers keep beside the weights.
# Stand-ins rather than the real classes: mmengine's history needs `getattr`, and a
# file that may call the real one can reach everything in the process.
_NUMPY = (
    'numpy.dtype',
    'numpy.ndarray',
    *(
        f'numpy.{core}.multiarray.{function}'
        for core in ('core', '_core')
        for function in ('_reconstruct', 'scalar')
    ),
)
_OF_MMENGINE = (
    'builtins.getattr',
    'builtins.slice',
    'mmengine.logging.history_buffer.HistoryBuffer',
    *_NUMPY,
)
_OF_OTHERS = (
    'argparse.Namespace',
    'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint',
    'pytorch_lightning.callbacks.early_stopping.EarlyStopping',
)
_DICTS_OF_OTHERS = (
    'pytorch_lightning.utilities.parsing.AttributeDict',
    'yacs.config.CfgNode',
)


def _stand_ins(base: type, *paths: str) -> list[Any]:
    names = [path.rpartition('.') for path in paths]
    return [
        type(name, (base,), dict(__module__=module, __qualname__=name)) for module, _, name in names
    ]


OF_OTHERS = [*_stand_ins(Bookkeeping, *_OF_OTHERS), *_stand_ins(BookkeepingDict, *_DICTS_OF_OTHERS)]
STAND_INS = [*_stand_ins(Bookkeeping, *_OF_MMENGINE), *OF_OTHERS]


@contextmanager
def only(allowed: list[Any]) -> Iterator[None]:
    """Allow these alone meanwhile: others in the process may have allowed more."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        loaded_since = set(torch.serialization.get_safe_globals()).difference(allowed)
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([*others, *loaded_since])


def _history_method(owner: object, name: str) -> object:
    """What `getattr` may do in a checkpoint: name a statistic of mmengine's HistoryBuffer."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current', 'statistics'):
        raise UnpicklingError(f'the file asks for the attribute {name!r} of {owner!r}')
    return getattr(owner, name)


def mmengine_globals() -> list:
    """What mmengine's checkpoints hold beside tensors, for ``torch.serialization.safe_globals``.

    A HistoryBuffer stores bound class methods, hence `getattr`; the real one would let a file reach
    everything in the process, so a stand-in takes its name. The names of numpy 1 stand beside those
    of numpy 2 because published checkpoints carry them.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = getattr(np, '_core', None) or np.core
    functions = [core.multiarray._reconstruct, core.multiarray.scalar]
    codes = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', '?', 'U1')
    return [
        slice,
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        (_history_method, 'builtins.getattr'),
        *functions,
        *((function, f'numpy.core.multiarray.{function.__name__}') for function in functions),
        *{type(np.dtype(code)) for code in codes},
    ]


def allow_mmengine_checkpoints(version: str) -> None:
    """Let torch >= 2.6 read what mmengine < 0.10.8 saves, so that resume and test work.

    mmengine keeps its message hub in the checkpoint, and torch's default loader refuses unknown
    classes.

    Args:
        version: mmengine's; later ones register their classes themselves.
    """
    if not within(version, '0.10.8') and within(torch.__version__, '2.6'):
        torch.serialization.add_safe_globals(mmengine_globals())
