# SPDX-License-Identifier: MIT
"""Results that are iterated over while their inputs are still read; see pool.py."""

import collections
import functools
import itertools
import multiprocessing.pool as _std
import os
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import TimeoutError
from multiprocessing.pool import TERMINATE
from typing import Any

from .pool_results import deadline_of
from .pool_workers import Workers, unreadable

__all__ = ["IMapIterator", "IMapUnorderedIterator"]

# What is read in the caller, since reading it takes no time worth mentioning.
_AT_HAND = (list, tuple, range, dict, set, frozenset, str, bytes, bytearray, collections.deque)

# How many chunks may be under way: fed to the workers and not yet used.
_WINDOW = 512
# How many chunks of input a job holds at once: more, since one that is slow keeps those after it.
_TABLE = 4 * _WINDOW
# Who waits for many small results is woken for several at once, but not later than this.
_PATIENCE_NS = 1_000_000


class _Stream:
    """What an iterator shares with the thread that reads its inputs, where it needs one.

    The thread does not know the iterator, which can be dropped while items are still to be read.

    Positions count what the user sees. An input that could not be read or sent has a position, with
    an error, but no index in the job. Under `room`, except that the iterable is read outside.
    """

    def __init__(
        self, workers: Workers, function: Any, iterable: Any, chunk: int, ordered: bool
    ) -> None:
        self.workers = workers
        self.job = workers.send(workers.shared.stream, function, False, chunk, chunk, _TABLE)
        self.chunk = chunk
        self.ordered = ordered
        self.room = threading.Condition()
        # The input side
        self.source: Iterator[Any] | None = None
        self.iterable = iterable
        self.pending: tuple[Any, ...] = ()  # read, and found no room
        self.fed = 0  # items
        self.skips: list[int] = []  # for each error: how many items had been fed before it
        self.window = _WINDOW * chunk
        self.refill = 0  # when so many positions were used, it is time to feed
        self.error: BaseException | None = None  # that ended the iterable, after what is pending
        self.exhausted = False
        self.ended = False  # nothing more will be fed
        self.thread: threading.Thread | None = None
        # The output side
        # Pieces (how, values) by the position of their first; by arrival if not ordered
        self.there: dict[int, tuple[Any, list[Any]]] = {}
        self.key = 0  # of the next one
        self.arrived = 0
        self.used = 0  # positions that the user has had
        self.taken = 0  # items of which the result was taken from the job
        self.floor = 0  # all items below are finished
        self.beyond: dict[int, int] = {}  # and these, above it: how many from there
        self.abandoned = False  # nobody wants the results

    # ---- input

    def _read(self, count: int) -> tuple[Any, ...]:
        """Up to `count` items, in whole chunks unless it was the end."""
        items: list[Any] = []
        try:
            if self.source is None:
                self.source = iter(self.iterable)
                self.iterable = None
            for item in itertools.islice(self.source, count):
                items.append(item)  # not extend(): what was read before an error counts
        except Exception as error:
            del items[len(items) // self.chunk * self.chunk :]
            self.error = error
            self.exhausted = True
        else:
            self.exhausted = len(items) < count
        return tuple(items)

    def _put_error(self, error: BaseException) -> None:
        self._deliver(self.fed + len(self.skips), False, [error])
        self.skips.append(self.fed)

    def _feed(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """Feed items; what found no room. A chunk that cannot be sent becomes an error."""
        while items:
            start = self.job.published
            try:
                done = self.job.feed(items, self.floor)
            except Exception as error:
                done = self.job.published - start
                self.fed += done
                self._put_error(error)
                items = items[done + self.chunk :]
                continue
            self.fed += done
            items = items[done:]
            break
        self.refill = self.fed + len(self.skips) - self.window // 2
        return items

    def _step(self, count: int) -> bool:
        """Read and feed up to `count` items; whether more can be read and fed."""
        with self.room:
            if self.pending:
                self.pending = self._feed(self.pending)
            go_on = not self.pending and not self.ended and not self.exhausted
        if go_on:
            items = self._read(count)
            with self.room:
                self.pending = self._feed(items)
        with self.room:
            if self.exhausted and not self.pending and not self.ended:
                if self.error is not None:
                    self._put_error(self.error)
                self._end()
            return not self.ended and not self.pending

    def _end(self) -> None:
        self.ended = True
        self.source = self.iterable = self.error = None
        self.job.end()
        self.workers.feeds.discard(self)
        self.workers.shared.notify()

    def under_way(self) -> int:
        return self.fed + len(self.skips) - self.used

    def fill(self) -> None:
        """Feed from what is at hand as far as the window goes, or have the thread do it."""
        if self.thread is not None:
            with self.room:
                self.room.notify_all()
            return
        while not self.ended and self.under_way() < self.window:
            free = (self.window - self.under_way()) // self.chunk
            if not self._step(max(1, min(free, 64)) * self.chunk):
                break

    # ---- output

    def _deliver(self, position: int, how: Any, values: list[Any]) -> None:
        self.there[position if self.ordered else self.arrived] = how, values
        self.arrived += 1

    def collect(self) -> None:
        """Take the results that are there."""
        for index, how, value in self.job.take():
            if how is ...:
                how, value = False, unreadable(index, value)
            values = value if how else [value]
            self.taken += len(values)
            self.beyond[index] = len(values)
            while self.floor in self.beyond:
                self.floor += self.beyond.pop(self.floor)
            if how is None:
                how, values = False, [self.workers.died([(value, index)])]
            if not self.abandoned:
                # What comes in one piece belongs to one chunk, so that no skip is inside.
                position = index + bisect_right(self.skips, index) if self.skips else index
                self._deliver(position, how, values)

    def next(self) -> tuple[Any, list[Any]] | None:
        """The next results, if they are there."""
        found = self.there.pop(self.key, None)
        if found is not None:
            count = len(found[1])
            self.used += count
            self.key += count if self.ordered else 1
        return found

    def is_over(self) -> bool:
        """Whether there will be no more results than were used."""
        return self.ended and self.under_way() <= 0

    # ---- the thread

    def start(self) -> None:
        """Read what is left in a thread."""
        with self.room:
            if self.thread is None and not self.ended:
                self.thread = threading.Thread(target=self._run, name="ramet-feed", daemon=True)
                self.thread.start()

    def lift(self) -> None:
        """The rest is to be read whether or not its results are used."""
        self.window = sys.maxsize
        self.start()
        with self.room:
            self.room.notify_all()

    def stop(self) -> None:
        """Read no more."""
        with self.room:
            self.ended = True
            self.workers.feeds.discard(self)
            self.room.notify_all()

    def _run(self) -> None:
        while not self.ended:
            with self.room:
                while not self.ended and self.under_way() >= self.window:
                    self.room.wait()
            errors = len(self.skips)
            if not self._step(self.chunk) and not self.ended:
                self._make_room()
            if len(self.skips) != errors:
                self.workers.shared.notify()

    def _make_room(self) -> None:
        """The table is full: wait until the oldest of its items are finished."""
        with self.room:
            self.collect()
            self.job.want = self.taken + 1
            self.workers.shared.notify()  # some may be for who iterates
        event = self.workers.shared.event
        if not self._step(self.chunk) and not self.ended and self.workers.over() is None:
            self.workers.wait((self.job,), event, time.monotonic_ns() + 50 * _PATIENCE_NS)


class _Arrival:
    """Tracked by the keeper until the next results are there, for a task that waits for them."""

    def __init__(self, stream: _Stream, wake: Callable[[], None]) -> None:
        self.stream = stream
        self.wake = wake
        self._job = stream.job

    def _settle(self) -> bool:
        stream = self.stream
        with stream.room:
            stream.collect()
            if stream.key not in stream.there and not stream.is_over():
                return False
        self.wake()
        return True

    def _end(self, error: Exception | None) -> bool:
        if error is not None:
            self.wake()
        return error is not None

    def _want(self) -> bool:
        with self.stream.room:
            self._job.want = self.stream.taken + 1
        return True

    def forget(self, wake: Callable[[], None]) -> None:
        workers = self.stream.workers
        with workers.lock:
            workers.tracked.pop(self, None)


class IMapIterator(_std.IMapIterator):
    """Iterates over results in the order of the input."""

    _ordered = True

    def __init__(self, workers: Workers, function: Any, iterable: Any, chunk: int) -> None:
        self._stream = stream = _Stream(workers, function, iterable, chunk, self._ordered)
        self._values: list[Any] = []  # results that were brought along, the next one last
        self._batch = 1  # how many results are worth a wake
        with workers.lock:
            workers.feeds.add(stream)
        if isinstance(iterable, _AT_HAND):
            stream.fill()
        else:
            stream.start()

    def __iter__(self) -> "IMapIterator":
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result; TimeoutError if it is not there after `timeout` seconds."""
        try:
            return self._values.pop()
        except IndexError:
            pass
        stream = self._stream
        with stream.room:
            found = stream.next()
        if found is None:
            found = self._wait(stream, deadline_of(timeout))
        return self._use(stream, found)

    __next__ = next

    def _use(self, stream: _Stream, found: tuple[Any, list[Any]]) -> Any:
        if stream.used >= stream.refill and not stream.ended:
            stream.fill()
        how, values = found
        if not how:
            raise values[0]
        if len(values) == 1:
            return values[0]
        values.reverse()
        value = values.pop()
        with stream.room:
            self._values[:0] = values  # not all: another thread may have brought some meanwhile
        return value

    def _look(self, stream: _Stream) -> tuple[Any, list[Any]] | None:
        """The next results, if they are there now; StopIteration if there are no more."""
        if not stream.ended and stream.thread is None:
            stream.fill()
        with stream.room:
            stream.collect()
            found = stream.next()
            if found is None and stream.is_over():
                raise StopIteration
        return found

    def __aiter__(self) -> "IMapIterator":
        return self

    async def __anext__(self) -> Any:
        with suppress(IndexError):
            return self._values.pop()
        stream = self._stream
        with stream.room:
            found = stream.next()
        while found is None:
            try:
                found = self._look(stream)
            except StopIteration:
                raise StopAsyncIteration from None
            if found is None:
                error = stream.workers.over()
                if error is not None:
                    raise error
                from .pool_async import until

                await until(stream.workers, functools.partial(_Arrival, stream))
        return self._use(stream, found)

    def _wait(self, stream: _Stream, deadline: int) -> tuple[Any, list[Any]]:
        workers = stream.workers
        while True:
            event = workers.shared.event
            found = self._look(stream)
            if found is not None:
                return found
            with stream.room:
                batch = max(1, min(self._batch, stream.under_way() // 2))
                stream.job.want = stream.taken + batch
            error = workers.over()
            if error is not None:
                raise error
            self._sleep(stream, event, deadline, batch)

    def _sleep(self, stream: _Stream, event: int, deadline: int, batch: int) -> None:
        """Wait for a batch, and learn how many of the results make one."""
        start = time.monotonic_ns()
        patience = start + _PATIENCE_NS if batch > 1 else -1
        hurried = patience >= 0 and (deadline < 0 or patience < deadline)
        there = stream.workers.wait((stream.job,), event, patience if hurried else deadline)
        if not there and not hurried:
            raise TimeoutError
        if there and time.monotonic_ns() - start < _PATIENCE_NS // 2:
            self._batch = min(2 * self._batch, 64)
        elif not there:
            self._batch = 1

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is None or stream.ended or stream.workers.owner != os.getpid():
            return
        stream.abandoned = True
        if stream.workers.state != TERMINATE and not sys.is_finalizing():
            stream.lift()


class IMapUnorderedIterator(IMapIterator, _std.IMapUnorderedIterator):
    """Iterates over results as they come."""

    _ordered = False
