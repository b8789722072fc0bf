"""Peak memory of a call, above the level before it."""

import ctypes
import gc
import threading
import time
from pathlib import Path

import torch

STATUS, CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')


class PeakMemory:
    """Context manager that sets ``extra``: the bytes its block needed above the level before it.

    On a GPU these are bytes of torch's allocator. On the CPU they are resident memory, taken from
    the kernel's own high-water mark, which is reset; where that is not allowed, a thread samples
    every millisecond. Freed memory is returned to the system first, so that no earlier call hides
    what this one needs.

    Args:
        device: where the block computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.extra = 0

    def __enter__(self) -> 'PeakMemory':
        release_memory()
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
            return self
        self._before, self._sampler = read_status('VmRSS'), None
        try:
            CLEAR.write_text('5')
        except OSError:
            self._sampler = _Sampler()
        return self

    def __exit__(self, *error) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = self._sampler.stop() if self._sampler else read_status('VmHWM')
        self.extra = max(peak - self._before, 0)


class _Sampler:
    """A thread that notes the largest resident memory."""

    def __init__(self) -> None:
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.peak = max(self.peak, read_status('VmRSS'))
            time.sleep(0.001)

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return max(self.peak, read_status('VmRSS'))


def read_status(name: str) -> int:
    """Bytes of an entry of /proc/self/status; 0 where that file does not exist."""
    if not STATUS.is_file():
        return 0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def release_memory() -> None:
    """Return freed memory to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL('libc.so.6').malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc: after a larger call, peaks are underestimated
