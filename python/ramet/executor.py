# SPDX-License-Identifier: MIT
"""An executor of `concurrent.futures` on the workers of a pool.

It has the whole interface of the standard library's `ProcessPoolExecutor`, as the newest Python
documents it, under every Python; `loop.run_in_executor()` of asyncio takes it. What differs is what
a dead worker costs: the call that it was working on fails, with `WorkerDied`, which is a
`BrokenProcessPool`, and everything else goes on.
"""

from __future__ import annotations

import collections
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor as _Std
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from .cpus import cpu_count
from .executor_engine import Engine, WorkerDied

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor", "WorkerDied"]

_T = TypeVar("_T")


def _run_chunk(fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in calls]


def _context_of(mp_context: Any) -> Any:
    """Our context: the given one, or the one of its start method."""
    from .context import BaseContext, _default_context

    if isinstance(mp_context, BaseContext):
        return mp_context.get_context()
    if mp_context is None:
        return _default_context.get_context()
    return _default_context.get_context(mp_context.get_start_method())


class ProcessPoolExecutor(_Std):
    """Worker processes that run calls; see `concurrent.futures.ProcessPoolExecutor`.

    The workers start with the first call. A call whose worker dies fails with `WorkerDied`; the
    others go on, and the worker is replaced. Lambdas and closures can be submitted where
    cloudpickle is installed. `max_tasks_per_child` works with every start method.
    """

    # Not the standard library's own, which makes queues and a thread for them.
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = cpu_count()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        self._max_workers = max_workers
        self._mp_context = _context_of(mp_context)
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._shutdown_lock = threading.RLock()  # _shutdown_thread, and the making of the engine
        self._shutdown_thread = False
        self._engine: Engine | None = None

    @property
    def _processes(self) -> dict[int, Any]:
        """The living workers by pid."""
        return {} if self._engine is None else self._engine.processes()

    @property
    def _broken(self) -> str | bool:
        return False if self._engine is None else self._engine.broken or False

    def _start(self) -> Engine:
        if self._engine is None:
            self._engine = Engine(
                self._mp_context,
                self._max_workers,
                self._initializer,
                self._initargs,
                self._max_tasks_per_child,
            )
        return self._engine

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Have a worker call `fn(*args, **kwargs)`; return the future of its result."""
        with self._shutdown_lock:
            if self._shutdown_thread:
                raise RuntimeError("cannot schedule new futures after shutdown")
            engine = self._start()
        return engine.submit(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Return an iterator over fn(*args) for args of zip(*iterables), in their order.

        TimeoutError if a result is not there `timeout` seconds after this call. The iterables are
        read at once, or no more than `buffersize` chunks ahead of the results that were used.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        run: Callable[..., list[_T]] = functools.partial(_run_chunk, fn)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        ahead = (self.submit(run, chunk) for chunk in chunks)
        futures = collections.deque(itertools.islice(ahead, buffersize))
        return _results(futures, ahead, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; what was submitted is finished, unless it is to be cancelled.

        With `wait`, return when the last call is finished and the workers have left.
        """
        with self._shutdown_lock:
            self._shutdown_thread = True
        if self._engine is not None:
            self._engine.shutdown(cancel_futures)
            if wait:
                self._engine.join()

    def terminate_workers(self) -> None:
        """End the workers at once, by SIGTERM; the calls that they work on fail."""
        self._stop("terminate")

    def kill_workers(self) -> None:
        """End the workers at once, by SIGKILL; the calls that they work on fail."""
        self._stop("kill")

    def _stop(self, how: str) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            self._engine.stop(how)

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.shutdown(False)  # what was submitted is finished


def _results(
    futures: collections.deque[Future[list[_T]]],
    ahead: Iterator[Future[list[_T]]],
    end: float | None,
) -> Iterator[_T]:
    """The results of futures, one at a time; more are submitted as they are used."""
    try:
        while futures:
            future = futures.popleft()
            try:
                results = future.result(None if end is None else end - time.monotonic())
            finally:
                future.cancel()
                del future  # a traceback names this frame
            futures.extend(itertools.islice(ahead, 1))
            results.reverse()
            while results:
                yield results.pop()
    finally:
        for future in futures:
            future.cancel()
