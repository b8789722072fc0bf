"""Trainings that torchrun or a scheduler starts again by itself."""

import os
from collections.abc import Mapping

from .start import AUTO

MAX_RESTARTS = 'TORCHELASTIC_MAX_RESTARTS'  # torchrun's --max-restarts, for its processes
# torch (seen in 2.13) otherwise lets restarted processes find the addresses of dead ones
OWN_STORE = 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE'
PATIENCE = 90.0  # seconds after which a network file system gives up the lock of a lost machine


class RestartError(ValueError):
    """A restart would lose what was done; the message says what to add."""


def refuse_useless_restarts(
    resume: bool | str | None,
    load_from: str | None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Refuse a training that torchrun may start again, but not with success.

    Args:
        resume: whether the training resumes: 'auto' from its work directory, True from
            ``load_from`` if there is one, a path from that file.
        load_from: a checkpoint.
        environment: variables of the process.

    Raises:
        RestartError: torchrun may restart it, and it would not go on from its last checkpoint, or
            its processes would not find each other.
    """
    restarts = count(environment, MAX_RESTARTS)
    file = load_from if resume is True else resume
    if restarts and resume != AUTO and (file or not resume):
        where = f'at {file}' if file else 'at the beginning'
        raise RestartError(
            f'torchrun may start this training again (--max-restarts {restarts}), each time '
            f'{where}: add --resume, without a file, and it goes on from its last checkpoint '
            '(or begins, if there is none; other weights to start from are load_from)'
        )
    if restarts and environment.get(OWN_STORE) != '1':
        raise RestartError(
            f'torchrun may start this training again (--max-restarts {restarts}), but then its '
            'processes would find the addresses of those that have died: set the environment '
            f'variable {OWN_STORE}=1 for torchrun'
        )


def patience(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds for which a training waits for the work directory of the one that it replaces.

    A machine that was lost may hold its lock on a network file system for a while.

    Args:
        environment: variables of the process.
    """
    restarted = count(environment, MAX_RESTARTS) or count(environment, 'SLURM_RESTART_COUNT')
    return PATIENCE if restarted else 0.0


def count(environment: Mapping[str, str], name: str) -> int:
    """A number in the environment, 0 without one."""
    text = environment.get(name, '')
    return int(text) if text.isdecimal() else 0
