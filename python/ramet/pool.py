# SPDX-License-Identifier: MIT
"""Pools of worker processes, as in `multiprocessing.pool`.

A job is a table in shared memory from which workers claim ranges of items; results come back the
same way. There are no queues, and no threads where the caller waits or the input is at hand:

- whoever waits for a result takes it out of shared memory, looks after the workers (the dead are
  replaced, and their items reported) and feeds what is still to be fed;
- one thread, started when first needed, does that for results with callbacks, for event loops, and
  while nobody waits;
- an iterable that may block has a thread of its own, which reads it no faster than its items are
  used.

Results can be awaited, and iterated over with `async for`, in a loop of asyncio; the one thread
does the waiting (pool_async.py).

A worker that dies fails the item it was working on, with `WorkerDied`; the rest goes on.
"""

import multiprocessing.pool as _std
import multiprocessing.queues as _std_queues
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import util
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from typing import Any

from .cpus import cpu_count
from .functions import portable
from .pool_imap import IMapIterator, IMapUnorderedIterator
from .pool_results import ApplyResult, MapResult
from .pool_workers import PoolTerminated, WorkerDied, Workers

__all__ = ["Pool", "PoolTerminated", "ThreadPool", "WorkerDied"]

AsyncResult = ApplyResult


class Pool(_std.Pool):
    """Worker processes that apply functions to items; see `multiprocessing.pool.Pool`."""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        self._pool: list[Any] = []
        self._state = INIT
        if context is None:
            from .context import _default_context

            context = _default_context.get_context()
        self._ctx = context
        if processes is None:
            processes = cpu_count()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer = initializer
        self._initargs = initargs

        fresh = context.get_start_method() != "fork"
        if initializer is not None and fresh:
            initializer = portable(initializer)
        factory = self.Process
        rest = (initializer, tuple(initargs), maxtasksperchild or 0)

        def make(target: Callable[..., None], args: tuple[Any, ...]) -> Any:
            return factory(context, target=target, args=(*args, *rest))

        self._workers = workers = Workers(make, processes, fresh)
        self._pool = workers.pool
        workers.populate()
        self._terminate = util.Finalize(self, Workers.terminate, args=(workers,), exitpriority=15)
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN and self._workers.owner == os.getpid():
            _warn(
                f"unclosed running multiprocessing pool {self!r}",
                ResourceWarning,
                source=self,
            )

    def __repr__(self) -> str:
        # While it runs, what was asked for: when it is found unclosed its workers may have ended.
        size = self._processes if self._state == RUN else len(self._pool)
        cls = self.__class__
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={size}>"

    def _repopulate_pool(self) -> None:
        self._workers.maintain()

    def _is_ours(self) -> bool:
        """Whether it runs, and is this process's and not its parent's."""
        return (
            self._state == RUN
            and self._workers.broken is None
            and (self._workers.owner == os.getpid())
        )

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")
        if self._workers.broken is not None:
            raise self._workers.broken
        if self._workers.owner != os.getpid():
            raise ValueError("Pool not running: it belongs to the parent of this process")

    # ---- one call

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> Any:
        """Call `func(*args, **kwds)` in a worker and return its result."""
        return self._call(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ApplyResult:
        """Call `func(*args, **kwds)` in a worker; the result is still to come."""
        return self._kept(self._call(func, args, kwds, callback, error_callback))

    def _call(self, func: Any, args: Any, kwds: Any, *callbacks: Any) -> ApplyResult:
        self._check_running()
        try:
            job, error = self._workers.send(self._workers.shared.call, func, args, kwds), None
        except Exception as failed:
            job, error = None, failed
        return ApplyResult(self._workers, job, *callbacks, error=error)

    def _kept(self, result: Any) -> Any:
        if result._event is not None and not result._done:
            self._workers.keep(result)
        elif self._workers.keeper is None:
            self._workers.keep()
        return result

    # ---- many

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Apply `func` to each item; return the list of the results."""
        return self._map(func, iterable, False, chunksize).get()

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Like map(), with items that are unpacked as arguments: (a, b) becomes func(a, b)."""
        return self._map(func, iterable, True, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """Like map(); the results are still to come."""
        return self._kept(self._map(func, iterable, False, chunksize, callback, error_callback))

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult:
        """Like starmap(); the results are still to come."""
        return self._kept(self._map(func, iterable, True, chunksize, callback, error_callback))

    def _map(
        self, func: Any, iterable: Any, star: bool, chunksize: int | None, *callbacks: Any
    ) -> MapResult:
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        job = error = None
        length = 1
        try:
            items = iterable if type(iterable) is range else tuple(iterable)
        except Exception as failed:
            if not hasattr(iterable, "__len__"):
                raise
            error = failed
        else:
            length = len(items)
            if items:
                try:
                    submit = self._workers.shared.map
                    job = self._workers.send(submit, func, items, star, chunksize or 0)
                except Exception as failed:
                    error = failed
        return MapResult(self._workers, job, length, *callbacks, error=error)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Apply `func` to each item; iterate over the results in the order of the items.

        Items are read as results are used: some hundred chunks are under way at once.
        """
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapUnorderedIterator:
        """Like imap(), with the results in the order in which they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(self, kind: Any, func: Any, iterable: Any, chunksize: int) -> Any:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        return kind(self._workers, func, iterable, chunksize)

    # ---- the end

    def close(self) -> None:
        """Take no more work; the workers leave when what there is has been done."""
        util.debug("closing pool")
        if self._state == RUN:
            self._state = CLOSE
            self._workers.close()

    def terminate(self) -> None:
        """End the workers at once, whatever they do."""
        util.debug("terminating pool")
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait until the workers have left, after close() or terminate()."""
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._workers.join()


class _OfThreads:
    """What a pool of threads wants of a context: a queue whose descriptor it waits for."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def SimpleQueue(self) -> Any:
        """Return a queue of the standard library's."""
        return _std_queues.SimpleQueue(ctx=self._context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class ThreadPool(_std.ThreadPool):
    """The standard library's pool of threads, whatever `multiprocessing` stands for."""

    def _setup_queues(self) -> None:
        super()._setup_queues()
        self._ctx = _OfThreads(self._ctx)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
