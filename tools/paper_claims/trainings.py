"""Trainings and tests as processes, some at a time, which go on where they were stopped."""

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fiber_mmdet.outputs import write_json

from .plan import Run

TOOLS = Path(__file__).resolve().parents[1]


Item = TypeVar('Item', Run, str)


class Stopped(Exception):
    """The program is being stopped."""


class Trainings:
    """Runs tools of this folder, each on one thread.

    Args:
        work_dir: work directory of all runs.
        jobs: how many run at a time.

    Attributes:
        failures: what failed, in words.
    """

    def __init__(self, work_dir: Path, jobs: int) -> None:
        self.work_dir = work_dir
        self.jobs = jobs
        self.failures: list[str] = []
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def each(self, what: str, function: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Call a function with each of the items; one that fails does not stop the others.

        Args:
            what: is done, for the lines that are printed.
            function: raises RuntimeError, ValueError or OSError if it fails.
            items: runs, or names.

        Raises:
            KeyboardInterrupt: after all processes have ended, with a checkpoint each.
        """
        total, done = len(items), 0

        def one(item: Item) -> None:
            nonlocal done
            name = item.folder if isinstance(item, Run) else item
            try:
                function(item)
            except Stopped:
                return
            except (RuntimeError, ValueError, OSError) as error:
                with self._lock:
                    self.failures.append(f'{what}: {name}: {error}')
                print(f'error: {what}: {name}: {error}', file=sys.stderr, flush=True)
                return
            with self._lock:
                done += 1
                print(f'[{done}/{total}] {what}: {name}', flush=True)

        with ThreadPoolExecutor(self.jobs) as pool:
            waiting = [pool.submit(one, item) for item in items]
            try:
                for future in waiting:
                    future.result()
            except KeyboardInterrupt:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise

    def train(self, run: Run) -> None:
        """Train, unless it is done.

        Raises:
            RuntimeError: it failed.
            ValueError: the folder is of other settings.
            OSError: a file cannot be read or written.
        """
        folder = self.work_dir / run.folder
        said, settings = folder / 'settings.json', [run.config, *run.options]
        if said.is_file() and (before := json.loads(said.read_text('utf-8'))) != settings:
            raise ValueError(
                f'{folder} is of other settings, {" ".join(before)}: remove it, or choose another '
                '--work-dir'
            )
        if (self.work_dir / run.checkpoint).is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_json(said, settings)
        arguments = [run.config, '--work-dir', str(folder), '--resume']
        self.call('train.py', *arguments, '--cfg-options', *run.options, log=folder / 'train.txt')

    def test(self, run: Run, name: str = 'test', options: Sequence[str] = ()) -> None:
        """Test the last checkpoint of a run, unless its metrics are there.

        Args:
            run: the run.
            name: of a folder in its own, for the metrics.
            options: settings of the config to override.

        Raises:
            RuntimeError: it failed.
            OSError: a file cannot be read or written.
        """
        folder = self.work_dir / run.folder / name
        if self.metrics(run, name) is None:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint = str(self.work_dir / run.checkpoint)
            more = ['--cfg-options', *options] if options else []
            arguments = [run.config, checkpoint, '--work-dir', str(folder), *more]
            self.call('test.py', *arguments, log=folder / 'test.txt')

    def metrics(self, run: Run, name: str = 'test') -> dict[str, float] | None:
        """What :meth:`test` found; None before it."""
        checkpoint = self.work_dir / run.checkpoint
        logs = (self.work_dir / run.folder / name).glob('*/*.json')
        newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None or not checkpoint.is_file():
            return None
        if newest.stat().st_mtime < checkpoint.stat().st_mtime:
            return None
        return json.loads(newest.read_text('utf-8'))

    def seconds_per_step(self, run: Run) -> float | None:
        """Mean time of a training step, reading included, from the log; None before it."""
        logs = (self.work_dir / run.folder).glob('*/vis_data/scalars.json')
        lines = [json.loads(line) for log in logs for line in log.read_text('utf-8').splitlines()]
        times = {line['step']: line['time'] for line in lines if 'time' in line and 'loss' in line}
        return sum(times.values()) / len(times) if times else None

    def call(self, tool: str, *arguments: str, log: Path) -> None:
        """Run a tool to its end.

        Args:
            tool: name of its file.
            arguments: of its command line.
            log: file to which its output is added.

        Raises:
            RuntimeError: it failed.
            OSError: the log cannot be written.
        """
        command = [sys.executable, str(TOOLS / tool), *arguments]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        with log.open('a+b') as out:
            with self._lock:
                if self._stopped:
                    raise Stopped
                # in a session of its own, so that Ctrl-C reaches it as SIGTERM only: it then ends
                # with a checkpoint
                process = subprocess.Popen(
                    command,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
                self._running.add(process)
            code = process.wait()
            with self._lock:
                self._running.discard(process)
                if self._stopped:
                    raise Stopped
        if code:
            said = log.read_text('utf-8', 'replace').strip().splitlines()[-1:]
            raise RuntimeError(
                f'{shlex.join(command)} ended with exit code {code}; {log} ends with: '
                f'{" ".join(said)}'
            )

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
