"""The loop over blocks on Ray Data: actors that load the model once, scheduled by Ray."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fiber_mmdet.host import need_extra

from .blocks import BlockPlace
from .parts import PartCount
from .worker import AllFailed, Work, Worker

TASKS = 10_000  # of a dataset of Ray; more blocks than that share tasks
STORE = 200 * 2**20  # bytes that a cluster of this process takes for objects: they are numbers


@dataclass(frozen=True)
class Cluster:
    """Where workers run.

    Attributes:
        workers: their number; the least, if ``most`` is more. None for one for each GPU, or one.
        most: Ray starts up to as many where there is room, also on machines that join; None for
            ``workers``.
        address: of a running cluster, ``auto`` for the one of this machine; None starts one in
            this process, which ends with it.
        cpus: of a worker.
        gpus: of a worker, a fraction if several share one; None for 1 where there are GPUs.
    """

    workers: int | None = None
    most: int | None = None
    address: str | None = None
    cpus: float = 1
    gpus: float | None = None


class WorkerError(RuntimeError):
    """What ended a worker, in a line."""


class RemoteWorker:
    """A worker whose errors come back as text.

    Ray would wrap them in its own, several times, and lose what they were.

    Args:
        work: what to do.
    """

    def __init__(self, work: Work) -> None:
        self.worker: Worker | None = None
        self.error = ''
        try:
            self.worker = Worker(work)
        except Exception as error:
            self.error = _said(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the part of a block; ``error`` says why there is none."""
        count, said = PartCount(int(row['number']), 0, 0), self.error
        if self.worker is not None:
            try:
                count = PartCount(**self.worker(row))
            except Exception as error:
                said = _said(error)
        return dict(asdict(count), error=said)


def count_in(row: dict[str, Any]) -> PartCount:
    """What a part holds.

    Args:
        row: of a :class:`RemoteWorker`.

    Raises:
        WorkerError: there is none.
    """
    if row['error']:
        raise WorkerError(row['error'])
    return PartCount(*(int(row[key]) for key in ('block', 'images', 'unreadable')))


def _said(error: Exception) -> str:
    said = ' '.join(str(error).split())
    known = isinstance(error, (OSError, ValueError, AllFailed)) and said
    return said if known else f'{type(error).__name__}: {said}'


def run_on_ray(work: Work, places: Sequence[BlockPlace], cluster: Cluster) -> Iterator[PartCount]:
    """Make the parts of blocks.

    Ray gives blocks to actors that are free, starts an actor that died anew, and gives its block to
    another one. What a worker raises ends the run with that error.

    Args:
        work: what workers have to know. All machines see its folders under the same names.
        places: of the blocks.
        cluster: where.

    Yields:
        What each part holds, as soon as it is there.

    Raises:
        MissingExtra: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        WorkerError: what a worker raised.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing is sent anywhere
    # errors of Ray's own processes are in its log files; of those it would print none is ours
    os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')
    ray = need_extra('ray', 'ray', 'workers on Ray (--no-ray does without)')
    data = need_extra('ray.data', 'ray', 'workers on Ray (--no-ray does without)')
    ours = not ray.is_initialized()
    if ours:
        _start(ray, cluster)
    logging.getLogger('ray.data').setLevel(logging.WARNING)
    # it would say that there are no bars of Ray's, instead of which callers show their own
    logging.getLogger('ray.data._internal.progress').setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    try:
        there = ray.cluster_resources().get('GPU', 0)
        gpus = (1 if there else 0) if cluster.gpus is None else cluster.gpus
        workers = cluster.workers or (max(1, int(there / gpus)) if gpus else 1)
        rows = [asdict(place) for place in places]
        blocks = data.from_items(rows, override_num_blocks=min(len(rows), TASKS))
        counts = blocks.map(
            RemoteWorker,
            fn_constructor_args=(work,),
            compute=data.ActorPoolStrategy(
                min_size=workers, max_size=max(workers, cluster.most or 0)
            ),
            num_cpus=cluster.cpus,
            num_gpus=gpus,
        )
        for row in counts.iter_rows():
            yield count_in(row)
    except ray.exceptions.RayError as error:
        raise WorkerError(f'Ray: {" ".join(str(error).split())[-1000:]}') from error
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, cluster: Cluster) -> None:
    options: dict[str, Any] = dict(logging_level=logging.ERROR, log_to_driver=False)
    if cluster.address is not None:
        ray.init(address=cluster.address, **options)
        return
    cpus = max(cluster.workers or 0, cluster.most or 0) * cluster.cpus
    ray.init(
        address='local',
        # what workers need, even where the machine has fewer: it is the user who says how many
        num_cpus=max(os.cpu_count() or 1, int(-(-cpus // 1))),
        include_dashboard=False,
        object_store_memory=STORE,
        **options,
    )
