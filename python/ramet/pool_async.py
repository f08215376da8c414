# SPDX-License-Identifier: MIT
"""Waiting for results of a pool in an event loop of asyncio; see pool.py.

The pool's keeper, the one thread that it has for all of them, waits in the loop's place. What is
there is taken by the task that asked for it, at the moment when it goes on: a task that is
cancelled before has taken nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .pool_workers import Workers

__all__ = ["until"]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def until(workers: Workers, track: Callable[[Callable[[], None]], Any]) -> None:
    """Have the keeper track what `track(wake)` returns, and wait until wake() is called.

    Also if nothing more will come: then the pool is over, or what was to come is there by now.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_wake, future)

    tracked = track(wake)
    workers.keep(tracked)
    if workers.over() is not None or workers.keeper_left:
        wake()
    try:
        await future
    finally:
        tracked.forget(wake)
