# SPDX-License-Identifier: MIT
"""What runs the calls of an executor: see executor.py.

Calls are the items of a job with an open end, from which the workers claim one at a time. A call is
fed to it when a worker may soon be free, and until then it can be cancelled: so there are few more
under way than workers, unless they are so short that workers would wait for the next.

The job's table is a ring. An item that takes long keeps those after it from going round; then the
job is ended, and another one takes what comes.

No thread but the keeper of the workers, which takes results, feeds what has become possible and
sets the futures.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import util
from multiprocessing.pool import RUN, TERMINATE
from typing import Any

from . import pool_workers
from .functions import portable
from .pool_workers import Workers, unreadable

__all__ = ["Engine", "WorkerDied"]

_TABLE = 1024  # calls that a job holds at once
_AHEAD = 256  # calls under way for each worker, at most

_Call = tuple[Any, tuple[Any, ...], dict[str, Any]]


class WorkerDied(pool_workers.WorkerDied, BrokenProcessPool):
    """The worker process that worked on this call ended; other calls are not concerned.

    `pid` and `exitcode` are the worker's; the exit code is negative for a signal.
    """

    def __str__(self) -> str:
        return super().__str__().partition(" while ")[0] + " while it worked on this call"


class _Future(Future[Any]):
    """A future that, once cancelled, is done for those who wait for it, too, at once."""

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        return True

    def begin(self) -> bool:
        """From now on it is running; False if it was cancelled."""
        with self._condition:
            return not self.cancelled() and self.set_running_or_notify_cancel()


def _run(call: _Call) -> Any:
    fn, args, kwargs = call
    return fn(*args, **kwargs)


class _Stream:
    """A job, and the futures of the items that are under way in it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._job = engine.workers.shared.stream(_run, False, 1, 1, _TABLE)
        self.futures: dict[int, Future[Any]] = {}
        self.fed = 0
        self.floor = 0  # all items below are finished
        self.ended = False  # nothing more will be fed

    def feed(self, call: _Call) -> bool:
        """Feed one call; False if the table is full. An exception if it cannot be sent."""

        def feed(fn: Any, args: Any, kwargs: Any) -> int:
            return self._job.feed(((fn, args, kwargs),), self.floor)

        return self.engine.workers.send(feed, *call) != 0

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self._job.end()

    def take(self) -> list[tuple[Future[Any], bool, Any]]:
        """The futures that have got a result (True) or an exception (False)."""
        taken = []
        for index, how, value in self._job.take():
            if how is None:
                deaths = [(value, self.engine.workers.exit_code(value), index)]
                how, value = False, WorkerDied(deaths)
            elif how is ...:
                how, value = False, unreadable(index, value)
            for i, one in enumerate(value if how else [value], index):
                taken.append((self.futures.pop(i), how, one))
        # They stand in the order in which they were fed.
        self.floor = next(iter(self.futures), self.fed)
        return taken

    # For the keeper, as of a result with callbacks.

    def _settle(self) -> bool:
        return self.engine.settle(self)

    def _end(self, error: Exception | None) -> bool:
        return self.engine.fail(self, error)

    def _want(self) -> bool:
        self._job.want = self.fed - len(self.futures) + 1  # one more than were taken
        return True


class Engine:
    """The workers of an executor, and the calls that were submitted.

    Does not know the executor, which may be dropped while there are calls. All under `lock`; but
    futures are completed outside, since that calls functions of the user.
    """

    def __init__(
        self, context: Any, size: int, initializer: Any, initargs: Any, ranges: int | None
    ) -> None:
        fresh = context.get_start_method() != "fork"
        if initializer is not None and fresh:
            initializer = portable(initializer)
        rest = (initializer, tuple(initargs), ranges or 0)

        def make(target: Callable[..., None], args: tuple[Any, ...]) -> Any:
            return context.Process(target=target, args=(*args, *rest))

        self.lock = threading.RLock()
        self.workers = Workers(make, size, fresh)
        self.workers.populate()
        self.pending: collections.deque[tuple[_Future, _Call]] = collections.deque()
        self.streams: list[_Stream] = []  # calls are fed to the last
        self.window = size + 1  # calls that may be under way
        self.feeding = False
        self.closing = False
        self.broken: str | None = None
        self.finalizer = util.Finalize(None, Engine.finish, args=(self,), exitpriority=15)

    def processes(self) -> dict[int, Any]:
        with self.workers.lock:
            return {p.pid: p for p in [*self.workers.pool, *self.workers.leaving]}

    # ---- calls on their way in

    def submit(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        future = _Future()
        with self.lock:
            if self.workers.owner != os.getpid():
                raise RuntimeError("the executor belongs to the parent of this process")
            if self.broken is not None:
                raise BrokenProcessPool(self.broken)
            if self.closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self.pending.append((future, (fn, args, kwargs)))
            failed = self._feed()
            self._close_if_done()  # where the executor was dropped meanwhile
        _complete(failed)
        return future

    def _under_way(self) -> int:
        return sum(len(stream.futures) for stream in self.streams)

    def _feed(self) -> list[tuple[Future[Any], bool, Any]]:
        """Feed what there is room for; the futures of calls that could not be sent."""
        failed: list[tuple[Future[Any], bool, Any]] = []
        if self.feeding:
            return failed  # a call that is being pickled submits another: the loop below feeds it
        self.feeding = True
        try:
            while self.pending and self._under_way() < self.window:
                future, call = self.pending.popleft()
                if not future.begin():
                    continue
                try:
                    self._send(future, call)
                except Exception as error:
                    failed.append((future, False, error))
        finally:
            self.feeding = False
        return failed

    def _send(self, future: Future[Any], call: _Call) -> None:
        if not self.streams or self.streams[-1].ended:
            self._add_stream()
        stream = self.streams[-1]
        if not stream.feed(call):
            stream.end()
            self.workers.ring()  # if all of it is finished, the keeper has done with it
            stream = self._add_stream()
            if not stream.feed(call):
                raise RuntimeError("an empty job has no room")
        stream.futures[stream.fed] = future
        stream.fed += 1

    def _add_stream(self) -> _Stream:
        stream = _Stream(self)
        self.streams.append(stream)
        self.workers.keep(stream)
        return stream

    # ---- results on their way out, called by the keeper

    def settle(self, stream: _Stream) -> bool:
        """Take what is finished and feed what can be; whether the stream has come to its end."""
        with self.lock:
            before = self._under_way()
            taken = stream.take()
            after = self._under_way()
            if taken:
                self._adapt(before, after)
            taken += self._feed()
            self._close_if_done()
            over = stream.ended and not stream.futures
            if over:
                self.streams.remove(stream)
        _complete(taken)
        if self.closing and not self.streams:
            self.finalizer.cancel()
        return over

    def _adapt(self, before: int, after: int) -> None:
        """Workers that ran out of calls get more ahead; where it lasts, calls can be cancelled."""
        least = self.workers.size + 1
        if after == 0 and before >= self.window:
            self.window = min(2 * self.window, _AHEAD * self.workers.size)
        elif after >= self.workers.size:
            self.window = max(self.window * 7 // 8, least)

    def fail(self, stream: _Stream, error: Exception | None) -> bool:
        """If there is an error, fail everything; whether there is."""
        if error is None:
            return False
        with self.lock:
            self.broken = self.broken or str(error)
            lost = [*stream.futures.values()]
            stream.futures.clear()
            while self.pending:
                future, _ = self.pending.popleft()
                if future.begin():
                    lost.append(future)
            if stream in self.streams:
                self.streams.remove(stream)
        _complete([(future, False, BrokenProcessPool(self.broken)) for future in lost])
        return True

    # ---- the end

    def shutdown(self, cancel: bool) -> None:
        """Take no more calls; with `cancel`, those that are not under way are cancelled."""
        cancelled = []
        if self.workers.owner != os.getpid():
            return
        with self.lock:
            self.closing = True
            if cancel:
                cancelled = [future for future, _ in self.pending]
                self.pending.clear()
            self._close_if_done()
        for future in cancelled:
            future.cancel()

    def _close_if_done(self) -> None:
        """When the last call has been fed, the workers leave after it."""
        if not self.closing or self.pending or self.feeding:
            return
        for stream in self.streams:
            stream.end()
        if self.workers.state == RUN:
            self.workers.close()
            self.workers.keep()

    def join(self) -> None:
        """Wait until all is done, after shutdown()."""
        if self.workers.owner != os.getpid():
            return
        if threading.current_thread() is self.workers.keeper:
            raise RuntimeError("a callback of a future cannot wait for its executor")
        self.workers.join()
        self.finalizer.cancel()

    def finish(self) -> None:
        """At the end of the process: what was submitted is finished."""
        self.shutdown(False)
        self.join()

    def stop(self, how: str) -> None:
        """End the workers now; `how` is a method of processes."""
        workers = self.workers
        if workers.owner != os.getpid():
            return
        with workers.lock:
            workers.state = TERMINATE
            workers.shared.set_state(2)
            for process in [*workers.pool, *workers.leaving]:
                with suppress(ProcessLookupError, ValueError):
                    getattr(process, how)()
        workers.ring()


def _complete(completed: list[tuple[Future[Any], bool, Any]]) -> None:
    for future, success, value in completed:
        with suppress(InvalidStateError):  # somebody else has completed it
            if success:
                future.set_result(value)
            else:
                future.set_exception(value)
