# SPDX-License-Identifier: MIT
"""Queues between processes.

The classes of `multiprocessing.queues`, on queues in shared memory: no feeder thread, no pipe and
no semaphore. `put()` serialises at once and raises there; what was put is in the queue when `put()`
returns; `qsize()`, `empty()` and `full()` are exact; order is first in, first out; and a process
that is killed takes no more with it than what it had got (`Queue.lost` counts that).

A subclass that overrides a hook of the feeder thread (`_feed`, `_on_queue_feeder_error`, ...) wants
that thread: it gets the standard library's queue, made of our locks.

Beyond the standard library's interface: `put_many()` and `get_many()`, iteration, `shutdown()`
with `ShutDown`, as `queue.Queue` has them from Python 3.13 on, and for asyncio `aget()`, `aput()`.
"""

import io
import multiprocessing.queues as _std
from contextlib import suppress
from queue import Empty, Full
from types import FunctionType
from typing import Any

from . import _ramet

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "ShutDown", "SimpleQueue"]

ShutDown = _ramet._shut_down_class()

_FEEDER_HOOKS = frozenset(
    ["_feed", "_finalize_close", "_finalize_join", "_on_queue_feeder_error", "_start_thread"]
)


def _use_feeder(cls: Any) -> None:
    """Give the class the methods and the attributes of the standard library's queue.

    Those that follow are found in `Queue`, which passes them on.
    """
    own = {"__init__", "__getstate__", "__setstate__", *vars(cls)}
    cls._feeder = std = next(base for base in cls.__mro__ if base.__module__ == _std.__name__)
    for base in std.__mro__[:-1]:
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and name not in own:
                setattr(cls, name, value)
    for name in ("_closed", "_maxsize", "_reader", "_writer"):
        setattr(cls, name, None)  # plain attributes, not our properties


class _End:
    """Stands where the standard library's queue has an end of its pipe.

    As there, a process that closes one end has the other one left: a queue is closed with both.
    """

    def __init__(self, queue: "Queue | SimpleQueue") -> None:
        self._queue = queue

    @property
    def closed(self) -> bool:
        return self._queue._closed or type(self) in vars(self._queue).get("_closed_ends", ())

    def close(self) -> None:
        ends = vars(self._queue).setdefault("_closed_ends", set())
        ends.add(type(self))
        if len(ends) == 2:
            self._queue.close()


class _Writer(_End):
    """The end of a queue to which is put."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("a queue in shared memory has no descriptor for putting")

    def send(self, obj: Any) -> None:
        self._queue.put(obj)


class _Reader(_End):
    """The end of a queue from which is got; `select` and `connection.wait` take it.

    Its descriptor is readable when something may be there to be got, for as long as the queue's
    object is used. If another process gets it first, it is readable for a moment without.
    """

    def fileno(self) -> int:
        return self._queue._fd()

    def poll(self, timeout: float | None = 0.0) -> bool:
        if not self._queue.empty():
            return True
        from multiprocessing.connection import wait  # late: it takes long to import

        return bool(wait([self], timeout)) and not self._queue.empty()

    def recv(self) -> Any:
        if "_read_lock" not in vars(self._queue):
            return self._queue.get()
        # As after _ReadLock.acquire(): what poll() saw may be another's by now.
        with suppress(Empty):
            return self._queue._get_nowait()
        return None


class _ReadLock:
    """Stands where the standard library's queue has the lock of those who get.

    Its pool takes it for good, to throw away what is in the queue. Ours has no such lock, and does
    not keep others from getting; but from then on a `recv()` does not wait in this process.
    """

    def __init__(self, queue: "SimpleQueue") -> None:
        self._queue = queue

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        vars(self._queue)["_read_lock"] = True
        return True

    def release(self) -> None:
        vars(self._queue).pop("_read_lock", None)


class _Waits:
    """Putting and getting in an event loop of asyncio; see aio.py."""

    async def aget(self: Any) -> Any:
        """Remove and return the first object; wait, as a task of asyncio, while there is none.

        A task that is cancelled while it waits has taken nothing.
        """
        with suppress(Empty):
            return self.get_nowait()
        from .aio import obtain

        def attempt() -> tuple[bool, Any]:
            try:
                return True, self.get_nowait()
            except Empty:
                return False, None

        return await obtain(self, attempt)

    async def aput(self: Any, obj: Any) -> None:
        """Put an object; wait, as a task of asyncio, while the queue is full.

        What is put is the object as it is when there is room for it.
        """
        with suppress(Full):
            return self.put_nowait(obj)
        from .aio import obtain

        def attempt() -> tuple[bool, Any]:
            try:
                return True, self.put_nowait(obj)
            except Full:
                return False, None

        await obtain(self, attempt, put=True)


class Queue(_ramet.Queue, _std.Queue, _Waits):
    """A first in, first out queue between processes, bounded if `maxsize` is positive."""

    _feeder: Any = None  # the standard library's class, where a subclass wants its engine

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not _FEEDER_HOOKS.isdisjoint(vars(cls)):
            _use_feeder(cls)

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        if self._feeder:
            from .context import _default_context

            self._feeder.__init__(self, maxsize, ctx=ctx or _default_context.get_context())
        else:
            self._create(maxsize)

    def __getstate__(self) -> Any:
        return self._feeder.__getstate__(self) if self._feeder else (self._ref(),)

    def __setstate__(self, state: Any) -> None:
        if self._feeder:
            self._feeder.__setstate__(self, state)
        else:
            (ref,) = state
            self._open(ref)

    @property
    def _reader(self) -> _Reader:
        return _Reader(self)

    @property
    def _writer(self) -> _Writer:
        return _Writer(self)


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
    def _reader(self) -> _Reader:
        return _Reader(self)

    @property
    def _rlock(self) -> _ReadLock:
        return _ReadLock(self)

    @property
    def _writer(self) -> _Writer:
        return _Writer(self)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
