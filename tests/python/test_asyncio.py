# SPDX-License-Identifier: MIT
"""Waiting in an event loop for what other processes do: nothing is lost, no thread for a call."""

import asyncio
import os
import random
import signal
import threading
import time

import pytest
import ramet
from ramet.pool import PoolTerminated, WorkerDied


def square(number):
    return number * number


def fails(number):
    raise ValueError(f"not {number}")


def killed_at(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def wait_for(event, result=None):
    event.wait()
    return result


def slow_square(number):
    time.sleep(0.001 * (number % 3))
    return number * number


@pytest.fixture
def pool():
    with ramet.Pool(2) as pool:
        yield pool


# ---- results of a pool


def test_results_are_awaited(pool):
    async def main():
        assert await pool.apply_async(square, (3,)) == 9
        assert await pool.map_async(square, range(100)) == [n * n for n in range(100)]
        assert await pool.starmap_async(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert await pool.map_async(square, []) == []
        with pytest.raises(ValueError, match="not 3"):
            await pool.apply_async(fails, (3,))
        with pytest.raises(WorkerDied):
            await pool.map_async(killed_at, range(10))
        found = []
        result = pool.apply_async(square, (4,), callback=found.append)
        assert await result == 16
        assert found == [16]
        assert await result == 16  # again
        assert result.get() == 16

    asyncio.run(main())


def test_many_results_at_once_and_no_thread_for_any(pool):
    async def main():
        event = ramet.Event()
        results = [pool.apply_async(wait_for, (event, n)) for n in range(50)]
        await asyncio.sleep(0)
        threads = threading.active_count()
        tasks = [asyncio.ensure_future(await_it(result)) for result in results]
        await asyncio.sleep(0.01)
        assert threading.active_count() == threads
        event.set()
        assert await asyncio.gather(*tasks) == list(range(50))

    async def await_it(result):
        return await result

    asyncio.run(main())


def test_a_cancelled_task_may_ask_again(pool):
    async def main():
        event = ramet.Event()
        result = pool.apply_async(wait_for, (event, "there"))
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.02):
                await result
        task = asyncio.ensure_future(asyncio.wait_for(result, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        event.set()
        assert await result == "there"

    asyncio.run(main())


def test_a_thread_and_a_task_wait_for_one_result(pool):
    async def main():
        for _ in range(20):
            event = ramet.Event()
            result = pool.apply_async(wait_for, (event, "there"))
            thread = asyncio.to_thread(result.get)
            task = asyncio.gather(thread, asyncio.wait_for(result, None))
            await asyncio.sleep(0.002)
            event.set()
            assert await task == ["there", "there"]

    asyncio.run(main())


def test_a_terminated_pool_is_told():
    async def main():
        pool = ramet.Pool(1)
        event = ramet.Event()
        results = [pool.apply_async(wait_for, (event,)) for _ in range(3)]
        iterator = pool.imap(square, range(3))
        task = asyncio.gather(*results, anext(iterator), return_exceptions=True)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(pool.terminate)
        assert [type(error) for error in await task] == [PoolTerminated] * 4
        with pytest.raises(PoolTerminated):
            await results[0]
        pool.join()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 7])
def test_iteration(pool, name, chunksize):
    async def main():
        start = getattr(pool, name)
        found = [n async for n in start(slow_square, range(300), chunksize)]
        if name == "imap_unordered":
            found.sort()
        assert found == [n * n for n in range(300)]
        assert [n async for n in start(square, [], chunksize)] == []
        found = [n async for n in start(square, (n for n in range(2000)), chunksize)]
        assert sorted(found) == [n * n for n in range(2000)]

    asyncio.run(main())


def test_iteration_over_errors(pool):
    async def main():
        iterator = pool.imap(killed_at, range(6))
        assert [await anext(iterator) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(WorkerDied):
            await anext(iterator)
        assert [n async for n in iterator] == [4, 5]

    asyncio.run(main())


def test_a_cancelled_iteration_loses_no_result(pool):
    async def main():
        generator = random.Random(1)
        iterator = pool.imap(slow_square, range(200))
        found = []
        while len(found) < 200:
            task = asyncio.ensure_future(next_of(iterator))
            if generator.random() < 0.7:
                await asyncio.sleep(generator.random() * 0.002)
                task.cancel()
            try:
                found.append(await task)
            except asyncio.CancelledError:
                pass
        assert found == [n * n for n in range(200)]

    async def next_of(iterator):
        return await anext(iterator)

    asyncio.run(main())
