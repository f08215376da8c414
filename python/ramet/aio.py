# SPDX-License-Identifier: MIT
"""Waiting in an event loop of asyncio for queues, locks, semaphores, events and processes.

One thread of the process, in C and started when first needed, waits in shared memory for all of
them (src/sync/watch.h); a loop has a descriptor for each object that tasks of it are waiting for,
and has it only that long. A task takes what it waits for itself, at the moment when it goes on,
without a pause in between: so a task that is cancelled before has taken nothing, and the item is
there for the next.
"""

import asyncio
import collections
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ._ramet import Watch

__all__ = ["obtain", "readable"]


class _Line:
    """The tasks of one loop that wait for one object, the first first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, obj: Any, put: bool, together: bool):
        self.loop = loop
        self.together = together  # what lets one go lets all go
        self.users = 0
        self.waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self.watch = Watch(obj, put)
        loop.add_reader(self.watch.fileno(), self.wake)

    def wake(self) -> None:
        """Wake the first; the next turn of the loop wakes the next, if there is still reason to."""
        while self.waiting:
            future = self.waiting.popleft()
            if not future.done():
                future.set_result(None)
                if not self.together:
                    return
        if self.together:
            self.watch.settle()

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(self.watch.fileno())
        self.watch.close()


_Lines = dict[tuple[int, bool], _Line]
_lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Lines] = weakref.WeakKeyDictionary()


def _lines_of(loop: asyncio.AbstractEventLoop) -> _Lines:
    lines = _lines.get(loop)
    if lines is None:
        # A loop that was closed while tasks of it waited is kept by its lines.
        for known in _lines.keyrefs():
            other = known()
            if other is not None and other.is_closed():
                for line in _lines.pop(other, {}).values():
                    line.close()
        lines = _lines[loop] = {}
    return lines


async def obtain(
    obj: Any, attempt: Callable[[], tuple[bool, Any]], put: bool = False, together: bool = False
) -> Any:
    """Wait until `attempt()` returns (True, value), and return the value.

    It is tried whenever the object may be ready; `together`: if so, for all who wait.
    """
    loop = asyncio.get_running_loop()
    lines = _lines_of(loop)
    key = id(obj), put
    line = lines.get(key)
    if line is None:
        line = lines[key] = _Line(loop, obj, put, together)
    line.users += 1
    future = None
    try:
        while True:
            try:
                done, value = attempt()
            finally:
                if not together:
                    line.watch.settle()
            if done:
                return value
            again, future = future is not None, loop.create_future()
            if again:
                line.waiting.appendleft(future)  # it has waited longest
            else:
                line.waiting.append(future)
            try:
                await future
            except BaseException:  # cancelled: others may wait here for long
                with suppress(ValueError):  # woken at the same time; so will be the next
                    line.waiting.remove(future)
                raise
    finally:
        line.users -= 1
        if not line.users:
            line.close()
            del lines[key]


async def readable(fd: int) -> None:
    """Wait until the descriptor is readable. Any number of tasks may wait for the same."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    own = os.dup(fd)  # a loop has one reader for each descriptor
    try:
        loop.add_reader(own, lambda: future.done() or future.set_result(None))
        try:
            await future
        finally:
            loop.remove_reader(own)
    finally:
        os.close(own)
