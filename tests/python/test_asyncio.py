# SPDX-License-Identifier: MIT
"""Waiting in an event loop for what other processes do: nothing is lost, no thread for a call."""

import asyncio
import gc
import os
import random
import signal
import threading
import time
import weakref

import pytest
import ramet
from ramet.pool import PoolTerminated, WorkerDied
from ramet.pool_async import until
from ramet.queues import ShutDown


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


def test_a_result_that_came_with_the_end_of_the_pool_is_there():
    """As where the last worker has left since the task looked."""

    async def main():
        pool = ramet.Pool(2)
        result = pool.apply_async(square, (3,))
        pool.close()
        while pool._workers.keeper.is_alive():
            await asyncio.sleep(0.001)
        await until(pool._workers, result._listen)
        assert await result == 9
        pool.join()

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


# ---- queues, locks, semaphores, events and processes


async def until_waiting(count):
    """Let the tasks that were started come to where they wait."""
    for _ in range(count + 5):
        await asyncio.sleep(0)


def putter(queue, first, count):
    for number in range(first, first + count):
        queue.put(number)


def test_a_queue(method):
    context = ramet.get_context(method)

    async def main():
        queue = context.Queue()
        queue.put("there")
        assert await queue.aget() == "there"
        task = asyncio.ensure_future(queue.aget())
        await until_waiting(1)
        assert not task.done()
        process = context.Process(target=putter, args=(queue, 7, 1), daemon=True)
        process.start()
        assert await task == 7
        await process.ajoin()
        assert process.exitcode == 0
        await process.ajoin()
        assert await asyncio.gather(*(queue.aget() for _ in range(5)), fill(queue, 5)) == [
            *range(5),
            None,
        ]

    async def fill(queue, count):
        for number in range(count):
            await queue.aput(number)

    asyncio.run(main())


def test_a_bounded_queue():
    async def main():
        queue = ramet.Queue(2)
        tasks = [asyncio.ensure_future(queue.aput(n)) for n in range(6)]
        await until_waiting(6)
        assert [task.done() for task in tasks] == [True, True, False, False, False, False]
        tasks[3].cancel()
        found = []
        while len(found) < 5:
            found.append(await queue.aget())
        assert found == [0, 1, 2, 4, 5]
        await asyncio.wait(tasks)
        assert queue.empty()

    asyncio.run(main())


def test_who_gives_up_waiting_leaves_nothing_behind():
    def futures():
        gc.collect()
        return sum(type(found) is asyncio.Future for found in gc.get_objects())

    async def main():
        queue = ramet.Queue()
        patient = asyncio.ensure_future(queue.aget())
        await until_waiting(1)
        before = futures()
        for _ in range(100):
            task = asyncio.ensure_future(queue.aget())
            await until_waiting(1)
            task.cancel()
            await asyncio.wait([task])
        assert futures() < before + 50
        queue.put("there")
        assert await patient == "there"

    asyncio.run(main())


def test_a_loop_that_is_closed_while_tasks_wait():
    def left_waiting():
        queue = ramet.Queue()
        loop = asyncio.new_event_loop()
        task = loop.create_task(queue.aget())
        loop.run_until_complete(until_waiting(1))
        loop.close()
        task._log_destroy_pending = False
        return weakref.ref(loop)

    loops = [left_waiting() for _ in range(10)]
    asyncio.run(ask_in_vain())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 10


async def ask_in_vain():
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ramet.Queue().aget(), 0.001)


def test_a_queue_that_is_shut_down():
    async def main():
        queue = ramet.Queue()
        tasks = [asyncio.ensure_future(queue.aget()) for _ in range(3)]
        await until_waiting(3)
        queue.put(1)
        queue.shutdown()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == 1
        assert [type(error) for error in results[1:]] == [ShutDown] * 2

    asyncio.run(main())


def test_what_cannot_be_read_is_raised_where_it_is_got():
    async def main():
        queue = ramet.Queue()
        task = asyncio.ensure_future(queue.aget())
        await until_waiting(1)
        queue.put(Unreadable())
        with pytest.raises(ValueError, match="not 3"):
            await task
        queue.put(1)
        assert await queue.aget() == 1

    asyncio.run(main())


class Unreadable:
    def __reduce__(self):
        return fails, (3,)


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_getters_lose_nothing(seed):
    """Many getters, cancelled at random moments, beside other processes: each item comes once."""
    putters, count = 2, 400

    async def main():
        generator = random.Random(seed)
        queue = ramet.Queue(generator.choice([0, 5]))
        others = ramet.Queue()
        context = ramet.get_context("fork")
        processes = [
            context.Process(target=putter, args=(queue, n * count, count), daemon=True)
            for n in range(putters)
        ]
        processes.append(context.Process(target=getter, args=(queue, others), daemon=True))
        found = []
        for process in processes:
            process.start()
        feed = asyncio.ensure_future(feeder(queue, generator, putters * count, count))
        tasks = set()
        while len(found) + others.qsize() < (putters + 1) * count:
            while len(tasks) < 10:
                tasks.add(asyncio.ensure_future(queue.aget()))
            if generator.random() < 0.5:
                generator.choice(sorted(tasks, key=id)).cancel()
            if generator.random() < 0.5:
                await asyncio.sleep(generator.random() * 0.001)
            else:
                await asyncio.sleep(0)
            tasks -= collect(tasks, found)
        await feed
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        collect(tasks, found)
        for _ in processes[:-1]:
            await processes.pop(0).ajoin()
        queue.put(None)
        await processes[0].ajoin()
        found += others.get_many() if others.qsize() else []
        assert sorted(found) == list(range((putters + 1) * count))
        assert queue.empty()
        assert queue.lost == 0

    def collect(tasks, found):
        done = {task for task in tasks if task.done()}
        found += [task.result() for task in done if not task.cancelled()]
        return done

    async def feeder(queue, generator, first, count):
        """Puts its items, each again if that was cancelled."""
        for number in range(first, first + count):
            while True:
                put = asyncio.ensure_future(queue.aput(number))
                if generator.random() < 0.2:
                    await asyncio.sleep(0)
                    put.cancel()
                await asyncio.wait([put])
                if not put.cancelled():
                    break

    asyncio.run(main())


def getter(queue, others):
    while (item := queue.get()) is not None:
        others.put(item)
        time.sleep(0.001)


def test_time_limits():
    async def main():
        queue, lock, event = ramet.Queue(1), ramet.Lock(), ramet.Event()
        full = ramet.Queue(1)
        full.put(0)
        lock.acquire()
        process = ramet.get_context("fork").Process(target=wait_for, args=(event,), daemon=True)
        process.start()
        for wait in (queue.aget, lock.aacquire, event.await_, process.ajoin):
            with pytest.raises(asyncio.TimeoutError):
                async with asyncio.timeout(0.01):
                    await wait()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(full.aput(1), 0.01)
        event.set()
        await process.ajoin()
        assert full.qsize() == 1
        lock.release()
        assert await lock.aacquire()

    asyncio.run(main())


def test_a_lock(method):
    context = ramet.get_context(method)

    async def main():
        lock, ready, event = context.Lock(), context.Event(), context.Event()
        process = context.Process(target=hold, args=(lock, ready, event), daemon=True)
        process.start()
        await ready.await_()
        inside = []

        async def enter(number):
            async with lock:
                inside.append(number)
                assert len(inside) == 1
                await asyncio.sleep(0)
                inside.pop()

        tasks = [asyncio.ensure_future(enter(n)) for n in range(10)]
        await until_waiting(10)
        assert not any(task.done() for task in tasks)
        tasks[4].cancel()
        event.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r is None for r in results] == [n != 4 for n in range(10)]
        await process.ajoin()

    asyncio.run(main())


def hold(lock, ready, event):
    with lock:
        ready.set()
        event.wait()


def test_a_lock_and_a_semaphore_of_one_who_dies():
    async def main():
        lock, semaphore = ramet.Lock(), ramet.Semaphore(1)
        ready = ramet.Event()
        process = ramet.get_context("fork").Process(
            target=hold_both, args=(lock, semaphore, ready), daemon=True
        )
        process.start()
        await ready.await_()
        with pytest.warns(ramet.OwnerDiedWarning):
            task = asyncio.ensure_future(lock.aacquire())
            other = asyncio.ensure_future(semaphore.__aenter__())
            await until_waiting(2)
            os.kill(process.pid, signal.SIGKILL)
            assert await task
        assert await other
        await process.ajoin()

    asyncio.run(main())


def hold_both(lock, semaphore, ready):
    with lock, semaphore:
        ready.set()
        signal.pause()


def test_a_semaphore():
    async def main():
        semaphore = ramet.Semaphore(2)
        inside = most = 0

        async def enter():
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

        await asyncio.gather(*(enter() for _ in range(10)))
        assert most == 2
        assert semaphore.get_value() == 2
        assert await semaphore.aacquire()
        assert await semaphore.aacquire()
        task = asyncio.ensure_future(semaphore.aacquire())
        await until_waiting(1)
        thread = threading.Thread(target=semaphore.release)
        thread.start()
        assert await task
        thread.join()

    asyncio.run(main())


def test_an_event_lets_all_go_also_if_it_is_only_a_pulse():
    async def main():
        event = ramet.Event()
        for _ in range(20):
            tasks = [asyncio.ensure_future(event.await_()) for _ in range(5)]
            await until_waiting(5)
            event.set()
            event.clear()
            assert await asyncio.gather(*tasks) == [True] * 5
        later = asyncio.ensure_future(event.await_())
        await until_waiting(5)
        assert not later.done()
        event.set()
        assert await later
        assert await event.await_()

    asyncio.run(main())


def test_one_thread_and_no_descriptor_that_stays():
    async def main():
        queues = [ramet.Queue() for _ in range(40)]
        descriptors = os.listdir("/proc/self/fd")
        tasks = [asyncio.ensure_future(queue.aget()) for queue in queues for _ in range(3)]
        await until_waiting(200)
        threads = len(os.listdir("/proc/self/task"))
        more = [asyncio.ensure_future(queue.aget()) for queue in queues]
        await until_waiting(100)
        assert len(os.listdir("/proc/self/task")) == threads
        for queue in queues:
            for number in range(4):
                queue.put(number)
        assert sorted(await asyncio.gather(*tasks, *more)) == sorted([0, 1, 2, 3] * 40)
        assert len(os.listdir("/proc/self/fd")) <= len(descriptors)

    asyncio.run(main())


def test_loops_in_several_threads():
    queue = ramet.Queue()
    found = []

    async def main():
        while (item := await queue.aget()) is not None:
            found.append(item)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        queue.put(number)
    for _ in threads:
        queue.put(None)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(300))
