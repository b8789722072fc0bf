"""Processes of the tools that need not import anything: forks of one that has.

Importing torch, mmdet and fiber_mmdet is most of what a small job costs.
"""

import gc
import json
import os
import random
import resource
import runpy
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Variables of a job: one thread, no network, no warnings."""
    paths = [str(CHECKOUT), str(CHECKOUT / 'tools'), os.environ.get('PYTHONPATH', '')]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
        OMP_NUM_THREADS='1',
        HF_HUB_OFFLINE='1',
        TORCH_DISABLE_SHARE_RDZV_TCP_STORE='1',  # docs/clusters.md
        PYTHONWARNINGS='ignore',
    )


class Fork:
    """A tool in a session of its own; what is used of ``subprocess.Popen``.

    Args:
        source: forks it.
        command: tool, relative to ``tools``, and arguments.
        log: file for its output.
        env: its environment.
    """

    def __init__(self, source: 'Source', command: list[str], log: Path, env: dict) -> None:
        self._source = source
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        start = dict(command=command, log=str(log), env=env, cwd=os.getcwd(), limit=limit)
        self.pid = int(source.ask(start=start))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, that of a signal below 0; None while it runs."""
        if self.returncode is None:
            self.returncode = self._source.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float = float('inf')) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: after this time in seconds.
        """
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired('a fork', timeout)
            time.sleep(0.02)
        return code


class Source:
    """A process that has imported everything, and forks when it is asked to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'fault_injection.forks'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def ask(self, **what: object) -> Any:
        """The answer to a request, see :func:`main`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@cache
def source() -> Source:
    """The only one of this process; it ends with it."""
    return Source()


# ------------------------------------------------------- in the process
def main() -> dict | None:
    """Answer requests from stdin: ``start`` with the process, ``poll`` with the exit code or null.

    Returns:
        In a fork, what it is to do; None at the end of stdin.
    """
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # for what imports print
    import fiber_mmdet.apis
    import fiber_mmdet.engine.launch  # noqa: F401

    gc.collect()
    gc.freeze()
    sys.stdout.flush()  # or each fork would say it again
    for line in iter(sys.stdin.readline, ''):
        request = json.loads(line)
        if 'poll' in request:
            process, status = os.waitpid(request['poll'], os.WNOHANG)
            found = os.waitstatus_to_exitcode(status) if process else None
        else:
            found = os.fork()
            if not found:
                answers.detach()
                return request['start']
        print(json.dumps(found), file=answers, flush=True)
    return None


def become(start: dict) -> None:
    """Be like a new process that runs a tool, until it ends."""
    import numpy as np

    os.setsid()
    for name, flags, numbers in (
        (os.devnull, os.O_RDONLY, (0,)),
        (start['log'], os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2)),
    ):
        file = os.open(name, flags)
        for number in numbers:
            os.dup2(file, number)
    os.closerange(3, 256)
    os.chdir(start['cwd'])
    os.environ.clear()
    os.environ.update(start['env'])
    soft, hard = start['limit']
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    random.seed()
    np.random.seed()
    tool, *arguments = start['command']
    sys.argv = [str(CHECKOUT / 'tools' / tool), *arguments]
    sys.path[0] = str(CHECKOUT / 'tools')
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    if (asked := main()) is not None:
        become(asked)
