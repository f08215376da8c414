# SPDX-License-Identifier: MIT
"""Locks, semaphores, events, conditions and barriers between processes.

Each class is the C type of `_ramet`, where the work is done, under the standard library's class
of the same name. An object is a handle: it can be pickled into a message at any time, under every
start method, and what arrives is a handle of the same lock. A process that dies leaves no one
waiting:

* a lock that it held is taken over by the next one to acquire it, with an `OwnerDiedWarning`;
* permits that it took by `with semaphore:` come back (by `acquire()`, they are signals and do not);
* a barrier in which it waited is broken;
* a notification that it had not acted upon goes to the next one that waits.

In asyncio: `await lock.aacquire()`, `async with lock`, the same with semaphores, and
`await event.await_()`. What knows its owner or its waiters by their threads has nothing of the
kind, since all tasks of a loop are one thread: `RLock`, `Condition` and `Barrier`.
"""

import multiprocessing.synchronize as _std
import threading
from typing import Any

from . import _ramet
from ._ramet import OwnerDiedWarning
from .process import current_process

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "OwnerDiedWarning",
    "RLock",
    "Semaphore",
]

RECURSIVE_MUTEX, SEMAPHORE = _std.RECURSIVE_MUTEX, _std.SEMAPHORE
SEM_VALUE_MAX = 2**31 - 1

_FREE, _MINE, _MY_PROCESS, _OTHER = range(4)


class SemLock(_std.SemLock):
    """What the standard library's class of this name is: the base of locks and semaphores.

    `_semlock` is the object itself: other code asks it for the names below.
    """

    # The standard library's __init__ would make a named semaphore.
    def __init__(self, *, ctx: Any = None) -> None:
        pass

    _semlock = property(lambda self: self)
    kind = SEMAPHORE
    maxvalue = 1
    name = None
    handle = property(id)

    def _make_methods(self) -> None:
        """The methods are the class's own."""

    def _after_fork(self) -> None:
        """A fork is taken care of where handles are."""

    def _get_value(self) -> int:
        return int(self._state() == _FREE)

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _is_mine(self) -> bool:
        return self._state() == _MINE

    def _count(self) -> int:
        return int(self._state() in (_MINE, _MY_PROCESS))


def _owner(state: int) -> str:
    if state == _FREE:
        return "None"
    if state == _MY_PROCESS:
        return "SomeOtherThread"
    if state == _OTHER:
        return "SomeOtherProcess"
    name = current_process().name
    if threading.current_thread().name != "MainThread":
        name += "|" + threading.current_thread().name
    return name


class _Acquires:
    """Acquiring in an event loop of asyncio; see aio.py."""

    async def aacquire(self: Any) -> bool:
        """Acquire it; wait, as a task of asyncio, while that is impossible.

        A task that is cancelled while it waits has not acquired it.
        """
        from .aio import obtain

        def attempt() -> tuple[bool, Any]:
            return self.acquire(False), True

        return bool(self.acquire(False) or await obtain(self, attempt))


class Lock(_ramet.Lock, SemLock, _std.Lock, _Acquires):
    """A lock for threads of any processes. Any of them may release it."""

    def __init__(self, *, ctx: Any = None) -> None:
        pass

    async def __aenter__(self) -> bool:
        return await self.aacquire()

    async def __aexit__(self, *_: Any) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_owner(self._state())})>"


class RLock(_ramet.RLock, SemLock, _std.RLock):
    """A recursive lock: the thread that holds it may take it again."""

    kind = RECURSIVE_MUTEX

    def __init__(self, *, ctx: Any = None) -> None:
        pass

    def _count(self) -> int:
        return self._recursion_count() or super()._count()

    def __repr__(self) -> str:
        state = self._state()
        count: Any = {_FREE: 0, _MINE: self._recursion_count()}.get(state, "nonzero")
        return f"<{type(self).__name__}({_owner(state)}, {count})>"


class Semaphore(_ramet.Semaphore, SemLock, _std.Semaphore, _Acquires):
    """A number of permits; `release()` may add any number to those it was made with."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        _ramet.Semaphore.__init__(self, value)

    maxvalue = property(lambda self: self._maxvalue)

    async def __aenter__(self) -> bool:
        if self._try_owned():
            return True
        from .aio import obtain

        return bool(await obtain(self, lambda: (self._try_owned(), True)))

    async def __aexit__(self, *exc_info: Any) -> None:
        self.__exit__(*exc_info)

    def _get_value(self) -> int:
        return self.get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


class BoundedSemaphore(Semaphore, _std.BoundedSemaphore):
    """A semaphore that never has more permits than it was made with."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        _ramet.Semaphore.__init__(self, value, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.maxvalue})>"


class Condition(_ramet.Condition, _std.Condition):
    """A condition variable, with a Lock or an RLock (by default one of its own).

    `notify(n)` lets go exactly n of those who wait.
    """

    def __init__(self, lock: Any = None, *, ctx: Any = None) -> None:
        _ramet.Condition.__init__(self, RLock(ctx=ctx) if lock is None else lock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._waiters()})>"


class Event(_ramet.Event, _std.Event):
    """A flag to wait for. Who waits when it is set passes, even if it is cleared again at once."""

    def __init__(self, *, ctx: Any = None) -> None:
        pass

    async def await_(self) -> bool:
        """Wait, as a task of asyncio, until the flag is set: True."""
        ticket = self._ticket()  # so that no pulse is missed
        if not self.is_set():
            from .aio import obtain

            await obtain(self, lambda: (self._passed(ticket), True), together=True)
        return True

    def __repr__(self) -> str:
        status = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {status}>"


class Barrier(_ramet.Barrier, _std.Barrier):
    """A point that `parties` threads of any processes pass together."""

    def __init__(
        self, parties: int, action: Any = None, timeout: float | None = None, *, ctx: Any = None
    ) -> None:
        _ramet.Barrier.__init__(self, parties, action, timeout)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
