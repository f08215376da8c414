# SPDX-License-Identifier: MIT
"""Queues between processes.

The classes of `multiprocessing.queues`, on queues in shared memory: no feeder thread, no pipe and
no semaphore. `put()` serialises at once and raises there; what was put is in the queue when `put()`
returns; `qsize()`, `empty()` and `full()` are exact; order is first in, first out; and a process
that is killed takes no more with it than what it had got (`Queue.lost` counts that).

Beyond the standard library's interface: `put_many()` and `get_many()`, iteration, and `shutdown()`
with `ShutDown`, as `queue.Queue` has them from Python 3.13 on.
"""

import io
import multiprocessing.queues as _std
from queue import Empty, Full
from typing import Any

from . import _ramet
from ._ramet import ShutDown

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "ShutDown", "SimpleQueue"]


class _End:
    """Stands where the standard library's queue has an end of its pipe."""

    def __init__(self, queue: "Queue | SimpleQueue") -> None:
        self._queue = queue

    @property
    def closed(self) -> bool:
        return self._queue._closed

    def close(self) -> None:
        self._queue.close()

    def fileno(self) -> int:
        raise io.UnsupportedOperation("a queue in shared memory has no descriptor")


class Queue(_ramet.Queue, _std.Queue):
    """A first in, first out queue between processes, bounded if `maxsize` is positive."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        self._create(maxsize)

    def __getstate__(self) -> Any:
        return (self._ref(),)

    def __setstate__(self, state: Any) -> None:
        (ref,) = state
        self._open(ref)

    @property
    def _reader(self) -> _End:
        return _End(self)

    _writer = _reader


class JoinableQueue(_ramet.JoinableQueue, Queue, _std.JoinableQueue):
    """A queue that counts unfinished tasks: `task_done()` and `join()`."""


class SimpleQueue(_ramet.SimpleQueue, _std.SimpleQueue):
    """A queue with no more than `put()`, `get()`, `empty()` and `close()`."""

    def __init__(self, *, ctx: Any = None) -> None:
        self._create(0)

    def __getstate__(self) -> Any:
        return (self._ref(),)

    def __setstate__(self, state: Any) -> None:
        (ref,) = state
        self._open(ref)

    @property
    def _reader(self) -> _End:
        return _End(self)

    _writer = _reader
