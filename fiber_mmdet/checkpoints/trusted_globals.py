"""The classes that a checkpoint of mmengine may hold beside tensors."""

from pickle import UnpicklingError

import torch

from fiber_mmdet.host import within


def _history_method(owner, name: str):
    """What `getattr` may do in a checkpoint: name a statistic of mmengine's HistoryBuffer."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current', 'statistics'):
        raise UnpicklingError(f'the file asks for the attribute {name!r} of {owner!r}')
    return getattr(owner, name)


def mmengine_globals() -> list:
    """What mmengine's checkpoints hold beside tensors, for `torch.serialization.safe_globals`.

    A HistoryBuffer stores bound class methods, hence `getattr`; the real one would let a file reach everything in the
    process, so a stand-in takes its name. The names of numpy 1 stand beside those of numpy 2 because published
    checkpoints carry them.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = getattr(np, '_core', None) or np.core
    functions = [core.multiarray._reconstruct, core.multiarray.scalar]
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        (_history_method, 'builtins.getattr'),
        *functions,
        *((function, f'numpy.core.multiarray.{function.__name__}') for function in functions),
        *{type(np.dtype(code)) for code in ('f8', 'f4', 'i8', 'i4')},
    ]


def allow_mmengine_checkpoints(version: str) -> None:
    """Let torch >= 2.6 read what mmengine < 0.10.8 saves, so that resume and test work.

    mmengine keeps its message hub in the checkpoint, and torch's default loader refuses unknown classes.

    Args:
        version: mmengine's; later ones register their classes themselves.
    """
    if not within(version, '0.10.8') and within(torch.__version__, '2.6'):
        torch.serialization.add_safe_globals(mmengine_globals())
