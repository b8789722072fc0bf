"""A bulk job: images are listed, labelled in blocks, and the parts merged; it goes on anywhere."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fiber_mmdet.apis.run_journal import JOURNAL, RunJournal, digest
from fiber_mmdet.engine.work_dir_lock import WorkDirInUseError, lock, unlock
from fiber_mmdet.outputs import OutputError, write_json
from fiber_mmdet.whole_files import put_in_place, remove_leftovers

from .blocks import BLOCKS, BlockPlace, block_places, digest_of, write_blocks
from .labellers import Labeller, load_labeller
from .merging import UNREADABLE, Merger, Tally, check_format
from .on_ray import Cluster, run_on_ray
from .parts import PARTS, PartCount, part_count, part_file, parts_folder
from .places import is_address
from .reading import READERS
from .source import Source
from .tasks import Task, TaskError, with_absolute_paths
from .worker import Work, Worker

SUMMARY = 'summary.json'
IMAGES = 'images'  # folder of images of tables and shards

Load = Callable[[], Labeller]


@dataclass(frozen=True)
class Output:
    """Where results go.

    Attributes:
        folder: of the job; on a cluster one that all machines see.
        format: see :data:`~.merging.FORMATS`; None for the usual one of the task. It may change
            when a finished job is started again, which then writes that file, too.
        drop_empty: leave images without a box out of the file.
        keep_images: write images of tables and shards into the folder, too, so that the labels can
            be trained on.
        overwrite: begin anew, and remove what another job has left in the folder.
        again: look again at blocks with images that could not be looked at.
        as_listed: go on with the images that were listed when the job began, whatever has been
            added since.
    """

    folder: str | Path
    format: str | None = None
    drop_empty: bool = False
    keep_images: bool = False
    overwrite: bool = False
    again: bool = False
    as_listed: bool = False


@dataclass(frozen=True)
class Report:
    """What a job has done.

    Attributes:
        files: that were written.
        tally: what is in them.
        blocks: number of blocks.
        before: blocks that were done before this run.
        images: that this run looked at.
        seconds: that it took for them, without listing, loading in this process, and merging.
    """

    files: list[Path]
    tally: Tally
    blocks: int
    before: int
    images: int
    seconds: float


class _Silent:
    """Hears nothing."""

    def began(self, blocks: int, before: int) -> None:
        """The number of blocks, and how many were done before."""

    def finished(self, count: PartCount) -> None:
        """A part is there."""


def label(
    source: Source | str,
    output: Output | str | Path,
    task: Task | None = None,
    cluster: Cluster | None = None,
    *,
    load: Load | None = None,
    readers: int = READERS,
    listener: Any = None,
) -> Report:
    """Label any number of images, each exactly once.

    .. code-block:: python

        from fiber_mmdet.bulk import Cluster, Output, Rules, Task, label

        task = Task(prompt=['red circle', 'blue star'], rules=Rules(score_thr=0.4, nms=0.7))
        label('photos/', Output('labels/', 'odvg'), task, Cluster(workers=4))

    Results are written block by block; a job that was interrupted, however it was, goes on with the
    blocks that are not there. Images that cannot be looked at are listed with their reason.

    Args:
        source: what to look at.
        output: where results go.
        task: what to say about the images.
        cluster: workers on Ray; None labels in this process.
        load: loads what says something about images, instead of the model of the task.
        readers: threads of each worker that read and decode images.
        listener: hears of progress, see ``_Silent``.

    Raises:
        OtherRunError: there are results of other settings, or other images, in the folder.
        OutputError: the folder cannot be used.
        SourceError, TaskError, RuleError, ValueError: what is asked makes no sense.
        MissingExtra: an optional dependency is missing.
        OSError: images cannot be listed, or results not be written; all parts stay.
        AllFailed: the model fails for every image of a block.
        WorkerError: a worker on Ray cannot go on, for any of these reasons.
    """
    source = Source(source) if isinstance(source, str) else source
    output = Output(output) if isinstance(output, (str, Path)) else output
    task = task or Task()
    listener = listener or _Silent()
    format = check_format(task.task, output.format)
    own_texts = source.text_from is not None
    if task.own_texts and not own_texts:
        raise TaskError(
            'say what to look for or to ask, or where the text of each image is: text_from'
        )
    task = replace(with_absolute_paths(task), own_texts=own_texts)
    out = Path(output.folder).expanduser().absolute()
    _check_folder(out, source)
    with _alone(out):
        here = replace(task, device='cpu') if cluster is not None else task
        labeller = load() if load is not None else load_labeller(here)
        said = labeller.settings()
        job = _prepare(out, source, output, task, said)
        work = Work(
            blocks=out / BLOCKS,
            parts=job.parts,
            load=load if load is not None else partial(load_labeller, task),
            expected=said,
            batch_size=task.batch_size,
            own_texts=task.own_texts,
            images=out / IMAGES if output.keep_images else None,
            readers=readers,
        )
        if output.again:
            _forget_unreadable(job)
        waiting = [place for place in job.places if not part_file(job.parts, place.number).exists()]
        before = len(job.places) - len(waiting)
        listener.began(len(job.places), before)
        begin, images = time.perf_counter(), 0
        counts: Iterable[PartCount] = ()
        if waiting and cluster is not None:
            counts = run_on_ray(work, waiting, cluster)
        elif waiting:
            worker = Worker(work, labeller)
            counts = (PartCount(**worker(asdict(place))) for place in waiting)
        for count in counts:
            images += count.images
            listener.finished(count)
        seconds = time.perf_counter() - begin
        merger = Merger(job.parts, len(job.places), labeller, task.task, output.drop_empty)
        job.journal.add_file(out / UNREADABLE)
        files = merger.write(out, format)
        for file in files:
            job.journal.add_file(file)
        report = Report(files, merger.tally, len(job.places), before, images, seconds)
        _summarise(out, report, task, source)
        job.journal.add_file(out / SUMMARY)
        return report


@dataclass(frozen=True)
class _Job:
    places: list[BlockPlace]
    parts: Path
    journal: RunJournal


def _prepare(out: Path, source: Source, output: Output, task: Task, said: dict[str, Any]) -> _Job:
    """The list of blocks, the journal and the folder of parts of a job."""
    remove_leftovers(out)
    blocks, listed = out / BLOCKS, out / f'new-{BLOCKS}'
    if not (output.as_listed and blocks.is_file()):
        write_blocks(listed, source.blocks())
    current = listed if listed.is_file() else blocks
    settings = dict(
        source=dict(place=source.place, listed=digest_of(current)),
        task=task.task,
        rules=asdict(task.rules),
        keep_images=output.keep_images,
        texts=source.text_from,
        **said,
    )
    if output.overwrite:
        for folder in out.glob(f'{PARTS}*'):
            shutil.rmtree(folder)
    try:
        journal = RunJournal(out / JOURNAL, settings, overwrite=output.overwrite)
    except OutputError:
        listed.unlink(missing_ok=True)
        raise
    if listed.is_file():
        put_in_place(listed, blocks)
    journal.add_file(blocks)
    parts = parts_folder(out, digest([json.dumps(settings, sort_keys=True).encode()]))
    parts.mkdir(exist_ok=True)
    remove_leftovers(parts)
    return _Job(list(block_places(blocks)), parts, journal)


def _forget_unreadable(job: _Job) -> None:
    for place in job.places:
        count = part_count(job.parts, place.number)
        if count is not None and count.unreadable:
            part_file(job.parts, place.number).unlink()


def _check_folder(out: Path, source: Source) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f'{out} is a file: results go into a folder')
    if not is_address(source.place):
        place = Path(source.place).expanduser().absolute()
        if place.is_dir() and out.resolve().is_relative_to(place.resolve()):
            raise OutputError(
                f'{out} is in the folder that is looked at, {place}: choose another folder'
            )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    try:
        held = lock(out)
    except WorkDirInUseError as error:
        raise OutputError(
            f'another job writes into {out}: wait, end it, or choose another folder'
        ) from error
    try:
        yield
    finally:
        unlock(held)


def _summarise(out: Path, report: Report, task: Task, source: Source) -> None:
    tally = report.tally
    content: dict[str, Any] = dict(
        source=source.place,
        task=task.task,
        images=tally.images,
        labelled=tally.labelled,
        unreadable=tally.unreadable,
        files=[file.name for file in report.files],
    )
    if task.task == 'detect':
        content['boxes'] = dict(tally.names.most_common())
    write_json(out / SUMMARY, content, indent=2)
