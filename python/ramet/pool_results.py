# SPDX-License-Identifier: MIT
"""Results that a pool has promised: of one call, or of a map; see pool.py."""

import multiprocessing.pool as _std
import sys
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing import TimeoutError
from typing import Any

from .pool_workers import PoolTerminated, Workers, unreadable

__all__ = ["ApplyResult", "MapResult"]


def deadline_of(timeout: float | None) -> int:
    """A time-out in seconds as a point of the monotonic clock in ns; negative is for ever."""
    if timeout is None:
        return -1
    return time.monotonic_ns() + max(0, int(min(timeout, 8e9) * 1e9))


class ApplyResult(_std.ApplyResult):
    """The result of one call, or of one map: there, or still to come."""

    def __init__(
        self,
        workers: Workers,
        job: Any,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._workers = workers
        self._job = job
        self._callback = callback
        self._error_callback = error_callback
        self._lock = threading.RLock()
        self._done = False
        self._success = True
        self._value: Any = None
        self._wakes: list[Callable[[], None]] = []  # to be called, by any thread, when it is there
        # Only where there are callbacks: set after they have run, by the keeper.
        self._event = threading.Event() if callback or error_callback else None
        if error is not None:
            self._job = None
            self._finish(False, error)

    # What is taken from the job, and when it is complete; differs in a map.

    def _want(self) -> bool:
        with self._lock:
            if self._job is None:
                return False
            self._job.want = 1
            return True

    def _take(self) -> bool:
        for index, how, value in self._job.take():
            self._success = how is True
            if how is None:
                self._value = self._workers.died([(value, index)])
            elif how is ...:
                self._value = unreadable(index, value)
            else:
                self._value = value[0] if how else value
            return True
        return False

    def _settle(self) -> bool:
        """Take what is there; whether that makes the result complete."""
        with self._lock:
            if not self._done and self._take():
                self._finish(self._success, self._value)
            return self._done

    def _finish(self, success: bool, value: Any) -> None:
        self._success = success
        self._value = value
        self._job = None
        self._done = True
        if self._event is not None:
            callback = self._callback if success else self._error_callback
            self._callback = self._error_callback = None
            if callback:
                try:
                    callback(value)
                except Exception:
                    sys.excepthook(*sys.exc_info())
            self._event.set()
        wakes, self._wakes = self._wakes, []
        for wake in wakes:
            wake()

    def _end(self, error: Exception | None) -> bool:
        """Fail for good, if there is an error; whether there is."""
        if error is None:
            return False
        with self._lock:
            if not self._done:
                if isinstance(error, PoolTerminated):
                    self._error_callback = None
                self._finish(False, error)
        return True

    def ready(self) -> bool:
        """Whether the call has completed."""
        if self._event is not None:
            return self._event.is_set()
        return self._settle()

    def successful(self) -> bool:
        """Whether the call completed without an exception; ValueError if it has not completed."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, or `timeout` seconds have passed."""
        if self._event is not None:
            self._event.wait(timeout)
            return
        deadline = deadline_of(timeout)
        workers = self._workers
        while True:
            event = workers.shared.event
            if self._settle() or self._end(workers.over()):
                return
            with self._lock:
                job = self._job
                if job is None:
                    continue
                self._want()
            if not workers.wait((job,), event, deadline):
                return

    def get(self, timeout: float | None = None) -> Any:
        """Return the result when it is there, or raise what the call raised.

        TimeoutError if it is not there after `timeout` seconds.
        """
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Any]:
        """The result, when it is there. A task that is cancelled meanwhile may ask again."""
        return self._arrive().__await__()

    async def _arrive(self) -> Any:
        while not (self.ready() or self._end(self._workers.over())):
            from .pool_async import until

            await until(self._workers, self._listen)
        return self._outcome()

    def _listen(self, wake: Callable[[], None]) -> Any:
        with self._lock:
            self._wakes.append(wake)
            if self._done and (self._event is None or self._event.is_set()):
                wake()
        return self

    def forget(self, wake: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            if wake in self._wakes:
                self._wakes.remove(wake)

    def _outcome(self) -> Any:
        if self._success:
            return self._value
        try:
            raise self._value
        finally:
            self = None  # the traceback names this frame: no cycle through it


class MapResult(ApplyResult, _std.MapResult):
    """The results of a map, in the order of its input."""

    def __init__(self, workers: Workers, job: Any, length: int, *callbacks: Any, error: Any = None):
        self._length = length
        self._results: list[Any] = [None] * length
        self._failures: dict[int, BaseException | None] = {}
        self._deaths: list[tuple[int, int]] = []  # (pid, item)
        super().__init__(workers, job, *callbacks, error=error)
        if length == 0:
            self._job = None
            self._value = []
            self._done = True
            if self._event is not None:
                self._event.set()

    def _want(self) -> bool:
        with self._lock:
            if self._job is None:
                return False
            # Some wakes on the way, so that results are decoded while others are computed. Never
            # more than there are: the last may have been finished since they were taken.
            finished = self._job.finished
            self._job.want = min(self._length, finished + max(1, (self._length - finished) // 2))
            return True

    def _take(self) -> bool:
        complete = self._job.finished == self._length  # before: so that all of them are taken
        for index, how, value in self._job.take(self._results):
            if how is None:
                self._deaths.append((value, index))
            else:
                self._failures[index] = unreadable(index, value) if how is ... else value
        if complete:
            self._conclude()
        return complete

    def _conclude(self) -> None:
        if self._deaths:
            self._deaths.sort(key=lambda death: death[1])
            self._failures[self._deaths[0][1]] = self._workers.died(self._deaths)
        self._success = not self._failures
        self._value = self._failures[min(self._failures)] if self._failures else self._results
        self._results = []
