# SPDX-License-Identifier: MIT
"""The processes of a pool, and what all results of it share; see pool.py."""

import itertools
import os
import pickle
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util
from multiprocessing.pool import (
    CLOSE,
    RUN,
    TERMINATE,
    ExceptionWithTraceback,
    MaybeEncodingError,
    RemoteTraceback,
)
from multiprocessing.reduction import ForkingPickler
from typing import Any

from . import _ramet, functions

__all__ = ["PoolTerminated", "WorkerDied", "Workers", "unreadable"]


class WorkerDied(RuntimeError):
    """A worker process ended while it worked on items of a job.

    `deaths` has a (pid, exit code, item) for each of them, the item as its index in the input, the
    exit code negative for a signal; `pid` and `exitcode` are the first one's, `items` has all.
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
    # Who gets this without having killed anything looks for a cause, and this is the usual one.
    hint = ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code} ({name}{hint})"


class _Description(ExceptionWithTraceback):
    """An exception on its way to the caller: with its traceback, and also if it does not arrive."""

    def __reduce__(self) -> Any:
        return _raised, (bytes(ForkingPickler.dumps(self.exc)), self.tb)


def _raised(pickled: bytes, traceback: str) -> BaseException:
    """What the caller gets for an exception: itself, or else what its unpickling raised."""
    try:
        error = pickle.loads(pickled)
    except Exception as failed:
        error = failed
        error.add_note("This was raised when the exception of a worker was unpickled; see above.")
    error.__cause__ = RemoteTraceback(traceback)
    return error


def _describe(error: Exception) -> _Description:
    return _Description(error, error.__traceback__)


def unreadable(index: int, error: Exception) -> Exception:
    """The failure of an item whose result could not be unpickled."""
    error.add_note(f"This was raised when the result of item {index} was unpickled.")
    return error


def _work(shared: Any, number: int, initializer: Any, initargs: Any, ranges: int) -> None:
    """What a worker process runs."""
    if initializer is not None:
        initializer(*initargs)
    try:
        shared.work(number, ranges, _describe, MaybeEncodingError)
    except KeyboardInterrupt:
        # A ^C in the terminal comes to the parent as well, whose traceback is the one to be seen.
        raise SystemExit(128 + signal.SIGINT) from None
    util.debug("worker exiting")


class Workers:
    """The processes of a pool, and what all its results share.

    Knows nothing of the Pool, so that a pool that is not used any more can be collected.
    """

    def __init__(
        self,
        make: Callable[[Callable[..., None], tuple[Any, ...]], Any],
        size: int,
        fresh: bool,
    ) -> None:
        self.make = make
        self.size = size
        self.fresh = fresh  # the workers are no copies of this process
        self.shared = _ramet.SharedPool(size)
        self.lock = threading.RLock()  # all below; processes are started under it
        self.state = RUN
        self.pool: list[Any] = []
        self.leaving: list[Any] = []  # have done their share, and are about to exit
        self.sentinels: tuple[int, ...] = ()  # one is readable when a worker of these has ended
        self.broken: Exception | None = None
        self.departed = 0
        self.exits: dict[int, int] = {}  # exit codes by pid, of the last that ended
        self.numbers = itertools.count()
        self.failed_starts = 0
        self.feeds: set[Any] = set()
        self.tracked: dict[Any, None] = {}  # have callbacks: the keeper waits for them
        self.keeper: threading.Thread | None = None
        self.keeper_left = False  # for good: the workers have left, and nothing was tracked
        self.bell = -1  # eventfd on which the keeper waits when it tracks nothing
        self.owner = os.getpid()

    def send(self, submit: Callable[..., Any], function: Any, *rest: Any) -> Any:
        """`submit(function, *rest)`, with the function by value if it does not go by name."""
        if self.fresh and functions.is_typed_in(function):
            function = functions.portable(function)
        return functions.send(submit, function, *rest)

    # ---- processes

    def maintain(self) -> None:
        """Note which workers have ended, and start as many as there should be."""
        with self.lock:
            self._collect()
            if self.broken is not None or self.state == TERMINATE:
                return
            if self.state == RUN or not self.shared.idle():
                self._populate()

    def _look_after(self) -> None:
        """maintain() where no caller can be told that it failed."""
        try:
            self.maintain()
        except OSError as error:  # no process could be started
            self.broken = self.broken or error

    def _changed(self) -> None:
        workers = [*self.pool, *self.leaving]
        self.sentinels = tuple(w.sentinel for w in workers if hasattr(w, "sentinel"))

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
            self._changed()
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
        self._changed()
        self.exits[worker.pid] = code
        if len(self.exits) > 4096:
            del self.exits[next(iter(self.exits))]
        if self._joined(worker) or code == 0 or self.broken is not None or self.state == TERMINATE:
            return
        error = getattr(worker._popen, "bootstrap_error", lambda: None)() if code > 0 else None
        if error is None:
            # Its initializer failed, say, and it has printed why; or it was killed. That may be bad
            # luck, but when as many in a row as the pool has workers cannot start, none will.
            # Who kills workers from outside is granted more of them.
            killed = code in (-signal.SIGKILL, -signal.SIGTERM)
            self.failed_starts += 1
            if self.failed_starts >= max(self.size, 64 if killed else 2):
                error = RuntimeError(
                    f"the workers of the pool cannot start: process {worker.pid} {_how(code)} "
                    "before it took any work"
                    + ("" if code < 0 else " (if its initializer raised, see standard error)")
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
                    # And replace it: that it is gone, nobody will be told again.
                    self._look_after()
            return self.exits.get(pid)

    def died(self, deaths: list[tuple[int, int]]) -> Exception | None:
        """The error for items, each with the pid of the worker that died working on it."""
        if self.state == TERMINATE:
            return self.over()
        return WorkerDied([(pid, self.exit_code(pid), item) for pid, item in deaths])

    # ---- waiting

    def over(self) -> Exception | None:
        """Why no result will come any more that is not there yet."""
        if self.broken is None and self.state == TERMINATE:
            return PoolTerminated("the pool was terminated before the result was there")
        return self.broken

    def wait(self, jobs: tuple[Any, ...], event: int, deadline: int) -> bool:
        """Wait for the jobs, and look after the workers; False when the deadline has passed."""
        how = self.shared.wait(jobs, self.departed, event, deadline, self.sentinels)
        if how == 2:
            self.maintain()
        return how != 0

    def ring(self) -> None:
        """Have everybody who waits look again."""
        self.shared.notify()
        if self.bell >= 0:
            os.eventfd_write(self.bell, 1)

    # ---- the thread that waits where nobody else does

    def keep(self, result: Any = None) -> None:
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
            self._look_after()
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
                    self.keeper_left = True
                    return
            # Results that another thread takes meanwhile have no job any more.
            wanted = [result._job for result in tracked if result._want()]
            jobs = tuple(job for job in wanted if job is not None)
            sentinels = self.sentinels
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
                leaving = [] if self.pool else list(self.leaving)
            if not leaving:
                self.wait((), event, -1)
            for worker in leaving:  # all that is left of the pool: nobody needs looking after
                worker.join()
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
