# SPDX-License-Identifier: MIT
"""Pools of worker processes, as in `multiprocessing.pool`.

A job is a table in shared memory from which workers claim ranges of items; results come back the
same way. There are no queues, and no threads where the caller waits or the input is at hand:

- whoever waits for a result takes it out of shared memory, looks after the workers (the dead are
  replaced, and their items reported) and feeds what is still to be fed;
- one thread, started when first needed, does that for results with callbacks, and while nobody
  waits;
- an iterable that may block has a thread of its own, which reads it no faster than its items are
  used.

A worker that dies fails the item it was working on, with `WorkerDied`; the rest goes on.
"""

import collections
import itertools
import multiprocessing.pool as _std
import os
import select
import signal
import sys
import threading
import time
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing import TimeoutError, util
from multiprocessing.pool import (
    CLOSE,
    INIT,
    RUN,
    TERMINATE,
    ExceptionWithTraceback,
    MaybeEncodingError,
    RemoteTraceback,
    ThreadPool,
)
from typing import Any

from . import _ramet

__all__ = ["Pool", "PoolTerminated", "ThreadPool", "WorkerDied"]

# What is read in the caller, since reading it takes no time worth mentioning.
_AT_HAND = (list, tuple, range, dict, set, frozenset, str, bytes, bytearray, collections.deque)

# How many chunks of an imap() may be under way: fed to the workers and not yet used.
_WINDOW = 512
_TABLE = 4 * _WINDOW


class WorkerDied(RuntimeError):
    """A worker process ended while it worked on items of a job.

    `deaths` has a (pid, exit code, item) for each of them, the item as its index in the input, the
    exit code negative for a signal; `pid`, `exitcode` and `items` are those of the first and of all.
    """

    def __init__(self, deaths: list[tuple[int, int | None, int]]) -> None:
        super().__init__(deaths)
        self.deaths = deaths
        self.pid, self.exitcode = deaths[0][:2]
        self.items = [item for _, _, item in deaths]

    def __str__(self) -> str:
        return "; ".join(
            f"worker process {pid} {_how(code)} while it worked on item {item}"
            for pid, code, item in self.deaths
        )


class PoolTerminated(RuntimeError):
    """The pool was terminated before the result was there."""


def _how(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"


# -------------------------------------------------------------------------------------- workers


def _describe(error: Exception) -> ExceptionWithTraceback:
    return ExceptionWithTraceback(error, error.__traceback__)


def _work(shared: Any, number: int, initializer: Any, initargs: Any, ranges: int) -> None:
    """What a worker process runs."""
    if initializer is not None:
        initializer(*initargs)
    shared.work(number, ranges, _describe, MaybeEncodingError)
    util.debug("worker exiting")


class _Workers:
    """The processes of a pool, and what all its results share.

    Knows nothing of the Pool, so that a pool that is not used any more can be collected.
    """

    def __init__(self, make: Callable[[Callable[..., None], tuple[Any, ...]], Any], size: int):
        self.make = make
        self.size = size
        self.shared = _ramet.SharedPool(size)
        self.lock = threading.RLock()  # all below; processes are started under it
        self.state = RUN
        self.pool: list[Any] = []
        self.leaving: list[Any] = []  # have done their share, and are about to exit
        self.broken: Exception | None = None
        self.departed = 0
        self.exits: dict[int, int] = {}  # exit codes by pid, of the last that ended
        self.numbers = itertools.count()
        self.failed_starts = 0
        self.feeds: set[_Feed] = set()
        self.tracked: dict[ApplyResult, None] = {}  # have callbacks: the keeper waits for them
        self.keeper: threading.Thread | None = None
        self.bell = -1  # eventfd on which the keeper waits when it tracks nothing
        self.owner = os.getpid()

    # ---- processes

    def sentinels(self) -> tuple[int, ...]:
        """Descriptors of which one is readable when a worker has ended."""
        return tuple(p.sentinel for p in [*self.pool, *self.leaving] if hasattr(p, "sentinel"))

    def maintain(self) -> None:
        """Note which workers have ended, and start as many as there should be."""
        with self.lock:
            self._collect()
            if self.broken is not None or self.state == TERMINATE:
                return
            if self.state == RUN or not self.shared.idle():
                self._populate()

    def populate(self) -> None:
        """Start the first workers: all of them, or none."""
        with self.lock:
            try:
                self._populate()
            except BaseException:
                for process in self.pool:
                    if process.exitcode is None:
                        process.terminate()
                for process in self.pool:
                    process.join()
                raise

    def _populate(self) -> None:
        while len(self.pool) < self.size:
            number = next(self.numbers)
            self.shared.joined(number)  # numbers come again after some thousands
            worker = self.make(_work, (self.shared, number))
            worker.name = worker.name.replace("Process", "PoolWorker")
            worker.daemon = True
            worker._starter_reports = True
            worker._pool_number = number
            worker._pool_joined = False
            worker.start()
            self.pool.append(worker)
            util.debug("added worker")

    def _joined(self, worker: Any) -> bool:
        if not worker._pool_joined and self.shared.joined(worker._pool_number):
            worker._pool_joined = True
            self.failed_starts = 0
        return worker._pool_joined

    def _collect(self) -> None:
        departed = self.shared.departed
        present = None if departed == self.departed else set(self.shared.workers())
        self.departed = departed
        for worker in list(self.pool):
            code = worker.exitcode
            if code is not None:
                self.pool.remove(worker)
                self._ended(worker, code)
            elif present is not None and self._joined(worker) and worker.pid not in present:
                self.pool.remove(worker)
                self.leaving.append(worker)
        for worker in list(self.leaving):
            if worker.exitcode is not None:
                self.leaving.remove(worker)
                self._ended(worker, worker.exitcode)

    def _ended(self, worker: Any, code: int) -> None:
        worker.join()
        self.exits[worker.pid] = code
        if len(self.exits) > 4096:
            del self.exits[next(iter(self.exits))]
        if self._joined(worker) or code == 0 or self.broken is not None:
            return
        error = getattr(worker._popen, "bootstrap_error", lambda: None)()
        if error is None and code > 0:
            # Its initializer failed, say, and it has printed why. That may be bad luck, but when as
            # many in a row as the pool has workers cannot start, none will.
            self.failed_starts += 1
            if self.failed_starts >= self.size:
                error = RuntimeError(
                    f"the workers of the pool cannot start: process {worker.pid} {_how(code)} "
                    "before it took any work"
                )
        if error is not None:
            self.broken = error
            self.ring()

    def exit_code(self, pid: int) -> int | None:
        """How the worker `pid`, which has died, ended."""
        with self.lock:
            for worker in [*self.pool, *self.leaving]:
                if worker.pid == pid:
                    worker.join()
                    self._collect()
            return self.exits.get(pid)

    # ---- waiting

    def over(self) -> Exception | None:
        """Why no result will come any more that is not there yet."""
        if self.broken is not None:
            return self.broken
        if self.state == TERMINATE:
            return PoolTerminated("the pool was terminated before the result was there")
        return None

    def wait(self, jobs: tuple[Any, ...], event: int, deadline: int) -> bool:
        """Wait for the jobs, and look after the workers; False when the deadline has passed."""
        how = self.shared.wait(jobs, self.departed, event, deadline, self.sentinels())
        if how == 2:
            self.maintain()
        return how != 0

    def ring(self) -> None:
        """Have everybody who waits look again."""
        self.shared.notify()
        if self.bell >= 0:
            os.eventfd_write(self.bell, 1)

    # ---- the thread that waits where nobody else does

    def keep(self, result: "ApplyResult | None" = None) -> None:
        """Have the keeper see to the workers, and to `result` if that has callbacks."""
        with self.lock:
            if result is not None:
                self.tracked[result] = None
            if self.keeper is None:
                self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self.keeper = threading.Thread(target=self._keep, name="ramet-pool", daemon=True)
                self.keeper.start()
            elif result is not None:
                self.ring()

    def _keep(self) -> None:
        while True:
            event = self.shared.event
            try:
                self.maintain()
            except OSError as error:  # no process could be started
                self.broken = self.broken or error
            with self.lock:
                tracked = list(self.tracked)
            for result in tracked:
                if result._settle() or result._end(self.over()):
                    with self.lock:
                        self.tracked.pop(result, None)
            with self.lock:
                tracked = list(self.tracked)
                gone = self.state == CLOSE and not self.pool and not self.leaving
                if not tracked and (self.state == TERMINATE or gone):
                    return
            jobs = tuple(result._job for result in tracked if result._want())
            sentinels = self.sentinels()
            if jobs:
                self.shared.wait(jobs, self.departed, event, -1, sentinels)
            else:
                poller = select.poll()
                for fd in (*sentinels, self.bell):
                    poller.register(fd, select.POLLIN)
                poller.poll()
                with suppress(BlockingIOError):
                    os.eventfd_read(self.bell)

    def _stop_keeper(self) -> None:
        keeper = self.keeper
        if keeper is None or keeper is threading.current_thread():
            return
        while keeper.is_alive():
            self.ring()
            keeper.join(0.1)
        with self.lock:
            bell, self.bell = self.bell, -1
        if bell >= 0:
            os.close(bell)

    # ---- the end

    def close(self) -> None:
        """Nothing more will be submitted; workers leave when all is done."""
        with self.lock:
            if self.state != RUN:
                return
            self.state = CLOSE
            feeds = list(self.feeds)
        self.shared.set_state(1)
        for feed in feeds:
            feed.lift()
        self.ring()

    def join(self) -> None:
        """Wait until every worker has left, after close()."""
        while True:
            event = self.shared.event
            self.maintain()
            with self.lock:
                if self.broken is not None:
                    break
                if not self.pool and not self.leaving:
                    break
            self.wait((), event, -1)
        if self.broken is not None:
            self.terminate()
        self._stop_keeper()

    def terminate(self) -> None:
        """End every worker, whatever it does."""
        if os.getpid() != self.owner:
            return
        with self.lock:
            self.state = TERMINATE
            self.shared.set_state(2)
            workers = [*self.pool, *self.leaving]
            feeds = list(self.feeds)
        for worker in workers:
            if worker.exitcode is None:
                worker.terminate()
        for feed in feeds:
            feed.stop()
        for worker in workers:
            worker.join()
        with self.lock:
            self._collect()
        self.ring()
        self._stop_keeper()


# -------------------------------------------------------------------------------------- results


def _deadline(timeout: float | None) -> int:
    """A time-out in seconds as a point of the monotonic clock in ns; negative is for ever."""
    if timeout is None:
        return -1
    return time.monotonic_ns() + max(0, int(min(timeout, 8e9) * 1e9))


class ApplyResult(_std.ApplyResult):
    """The result of one call, or of one map: there, or still to come."""

    def __init__(
        self,
        workers: _Workers,
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
            self._value = self._died(value, index) if how is None else value
            return True
        return False

    def _died(self, pid: int, index: int) -> WorkerDied:
        return WorkerDied([(pid, self._workers.exit_code(pid), index)])

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
        deadline = _deadline(timeout)
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
        if self._success:
            return self._value
        try:
            raise self._value
        finally:
            self = None  # the traceback names this frame: no cycle through it


AsyncResult = ApplyResult


class MapResult(ApplyResult, _std.MapResult):
    """The results of a map, in the order of its input."""

    def __init__(
        self, workers: _Workers, job: Any, length: int, *callbacks: Any, error: Any = None
    ):
        self._length = length
        self._results: list[Any] = [None] * length
        self._failures: dict[int, BaseException] = {}
        self._deaths: list[tuple[int, int, int]] = []
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
            # Some wakes on the way, so that results are decoded while others are computed.
            finished = self._job.finished
            self._job.want = finished + max(1, (self._length - finished + 1) // 2)
            return True

    def _take(self) -> bool:
        complete = self._job.finished == self._length  # before: so that all of them are taken
        for index, how, value in self._job.take(self._results):
            if how is None:
                self._deaths.append((value, self._workers.exit_code(value), index))
            else:
                self._failures[index] = value
        if complete:
            self._conclude()
        return complete

    def _conclude(self) -> None:
        if self._deaths:
            self._deaths.sort(key=lambda death: death[2])
            self._failures[self._deaths[0][2]] = WorkerDied(self._deaths)
        self._success = not self._failures
        self._value = self._failures[min(self._failures)] if self._failures else self._results
        self._results = []


# -------------------------------------------------------------------------------- lazy results


class _Feed:
    """The input side of an imap(): reads the iterable and feeds its job.

    Positions count what the user sees: an input that could not be read or sent has a position, with
    an error, but no index in the job. Shared by the iterator and, where the iterable may block, a
    thread; which is why it does not know the iterator.
    """

    def __init__(self, workers: _Workers, job: Any, iterable: Any, chunk: int) -> None:
        self.workers = workers
        self.job = job
        self.chunk = chunk
        self.room = threading.Condition()  # guards all below, except while the iterable is read
        self.source: Iterator[Any] | None = None
        self.iterable = iterable
        self.pending: tuple[Any, ...] = ()  # read, and found no room
        self.fed = 0  # items
        self.skips: list[int] = []  # for each error: how many items had been fed before it
        self.errors: dict[int, BaseException] = {}  # by position
        self.used = 0  # positions that the user has consumed
        self.floor = 0  # all items below are finished
        self.beyond: set[int] = set()  # and these, above it
        self.window = _WINDOW * chunk
        self.exhausted = False
        self.ended = False
        self.thread: threading.Thread | None = None
        self.abandoned = False

    def position(self, index: int) -> int:
        return index + bisect_right(self.skips, index)

    @property
    def given(self) -> int:
        return self.fed + len(self.skips)

    def finish(self, index: int) -> None:
        """Item `index` has its result."""
        self.beyond.add(index)
        while self.floor in self.beyond:
            self.beyond.remove(self.floor)
            self.floor += 1

    def read(self, count: int) -> tuple[tuple[Any, ...], BaseException | None, bool]:
        """Up to `count` items in whole chunks: them, an error, and whether that was the end."""
        items: list[Any] = []
        try:
            if self.source is None:
                self.source = iter(self.iterable)
                self.iterable = None
            for item in itertools.islice(self.source, count):
                items.append(item)  # not extend(): what was read before an error counts
        except Exception as error:
            del items[len(items) // self.chunk * self.chunk :]
            return tuple(items), error, True
        return tuple(items), None, len(items) < count

    def put_error(self, error: BaseException) -> None:
        self.errors[self.given] = error
        self.skips.append(self.fed)

    def feed(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """Feed items; what found no room. A chunk that cannot be sent becomes an error."""
        while items:
            start = self.job.published
            try:
                done = self.job.feed(items, self.floor)
            except Exception as error:
                done = self.job.published - start
                self.fed += done
                self.put_error(error)
                items = items[done + self.chunk :]
                continue
            self.fed += done
            if done < len(items):
                return items[done:]
            break
        return ()

    def step(self, count: int) -> bool:
        """Read and feed up to `count` items; whether more can be read and fed at once."""
        with self.room:
            if self.ended:
                return False
            if self.pending:
                self.pending = self.feed(self.pending)
                if self.pending:
                    return False
            if self.exhausted:
                return self._end()
        items, error, last = self.read(count)
        with self.room:
            if self.ended:
                return False
            self.pending = self.feed(items)
            self.exhausted = last
            if error is not None and not self.pending:
                self.put_error(error)
            elif error is not None:
                self._late_error = error
            if last and not self.pending:
                return self._end()
            return not self.pending

    _late_error: BaseException | None = None

    def _end(self) -> bool:
        if self._late_error is not None:
            self.put_error(self._late_error)
        self.ended = True
        self.source = self.iterable = None
        self.job.end()
        self.workers.feeds.discard(self)
        self.workers.shared.notify()
        return False

    def fill(self) -> None:
        """Feed from what is at hand, as far as the window goes; for who uses the results."""
        if self.thread is None:
            while not self.ended and self.given - self.used < self.window:
                free = (self.window - (self.given - self.used)) // self.chunk
                if not self.step(max(1, min(free, 64)) * self.chunk):
                    break

    # ---- the thread

    def start(self) -> None:
        """Read the rest in a thread."""
        with self.room:
            if self.thread is None and not self.ended:
                self.thread = threading.Thread(target=self._run, name="ramet-feed", daemon=True)
                self.thread.start()

    def lift(self) -> None:
        """The rest is to be read whether or not the results are used."""
        self.window = sys.maxsize
        self.start()
        with self.room:
            self.room.notify_all()

    def stop(self) -> None:
        """Read no more."""
        with self.room:
            self.ended = True
            self.room.notify_all()
            self.workers.feeds.discard(self)

    def _run(self) -> None:
        while not self.ended:
            with self.room:
                while not self.ended and self.given - self.used >= self.window:
                    self.room.wait()
                given = self.given
            if not self.step(self.chunk) and not self.ended:
                self._wait_for_slots()
            elif self.given != given and self.errors:
                self.workers.shared.notify()

    def _wait_for_slots(self) -> None:
        """The table is full: until the oldest are finished, which who takes results tells."""
        with self.room:
            if self.abandoned:
                self._discard()
            self.room.wait(0.05)

    def _discard(self) -> None:
        for index, _, _ in self.job.take():
            self.finish(index)


class IMapIterator(_std.IMapIterator):
    """Iterates over results in the order of the input."""

    _ordered = True

    def __init__(self, workers: _Workers, job: Any, iterable: Any, chunk: int) -> None:
        self._workers = workers
        self._job = job
        self._feed = feed = _Feed(workers, job, iterable, chunk)
        self._there: dict[int, tuple[Any, Any]] = {}  # by position
        self._index = 0  # ordered: the next position
        with workers.lock:
            workers.feeds.add(feed)
        if isinstance(iterable, _AT_HAND):
            feed.fill()
        else:
            feed.start()

    def __iter__(self) -> "IMapIterator":
        return self

    def _collect(self) -> None:
        feed = self._feed
        for index, how, value in self._job.take():
            feed.finish(index)
            if how is None:
                how, value = False, WorkerDied([(value, self._workers.exit_code(value), index)])
            self._there[feed.position(index)] = how, value
        while feed.errors:
            position, error = feed.errors.popitem()
            self._there[position] = False, error

    def _pop(self) -> tuple[Any, Any] | None:
        there = self._there
        if self._ordered:
            found = there.pop(self._index, None)
        else:
            found = there.pop(next(iter(there))) if there else None
        if found is not None:
            self._index += 1
            feed = self._feed
            feed.used += 1
            if feed.thread is not None:
                if not there or feed.given - feed.used < feed.window // 2:
                    feed.room.notify_all()
        return found

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result; TimeoutError if it is not there after `timeout` seconds."""
        feed = self._feed
        workers = self._workers
        deadline = 0
        while True:
            event = workers.shared.event
            with feed.room:
                found = self._pop()
                if found is None:
                    self._collect()
                    found = self._pop()
                if found is None and feed.ended and self._index >= feed.given:
                    raise StopIteration
                under_way = feed.given - feed.used
            if not feed.ended and feed.thread is None and under_way < feed.window // 2:
                feed.fill()
            if found is not None:
                break
            error = workers.over()
            if error is not None:
                raise error
            self._job.want = feed.floor + len(feed.beyond) + 1
            if deadline == 0:
                deadline = _deadline(timeout)
            if not workers.wait((self._job,), event, deadline):
                raise TimeoutError
        how, value = found
        if how:
            return value
        raise value

    __next__ = next

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is not None and not feed.ended and self._workers.owner == os.getpid():
            feed.abandoned = True
            if self._workers.state != TERMINATE:
                feed.lift()


class IMapUnorderedIterator(IMapIterator, _std.IMapUnorderedIterator):
    """Iterates over results as they come."""

    _ordered = False


# -------------------------------------------------------------------------------------- the pool


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
            processes = getattr(os, "process_cpu_count", os.cpu_count)() or 1
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

        factory = self.Process
        rest = (initializer, tuple(initargs), maxtasksperchild or 0)

        def make(target: Callable[..., None], args: tuple[Any, ...]) -> Any:
            return factory(context, target=target, args=(*args, *rest))

        self._workers = workers = _Workers(make, processes)
        self._pool = workers.pool
        workers.populate()
        self._terminate = util.Finalize(self, _Workers.terminate, args=(workers,), exitpriority=15)
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN and self._workers.owner == os.getpid():
            _warn(
                f"unclosed running multiprocessing pool {self!r}",
                ResourceWarning,
                source=self,
            )

    def _repopulate_pool(self) -> None:
        self._workers.maintain()

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
            job, error = self._workers.shared.call(func, args, kwds), None
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
            items = tuple(iterable)
        except Exception as failed:
            if not hasattr(iterable, "__len__"):
                raise
            error = failed
        else:
            length = len(items)
            if items:
                try:
                    job = self._workers.shared.map(func, items, star, chunksize or 0)
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
        job = self._workers.shared.stream(func, False, chunksize, chunksize, _TABLE)
        return kind(self._workers, job, iterable, chunksize)

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


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
