# SPDX-License-Identifier: MIT
"""The executor: the interface of concurrent.futures, and what a dead worker costs."""

import asyncio
import concurrent.futures
import gc
import itertools
import multiprocessing
import os
import signal
import textwrap
import threading
import time

import family
import pytest
import ramet
from ramet import pool
from ramet.executor import BrokenProcessPool, WorkerDied


@pytest.fixture
def context(method):
    return ramet.get_context(method)


@pytest.fixture
def forks():
    return ramet.get_context("fork")


def square(number):
    return number * number


def everything(*args, **kwargs):
    return args, kwargs


def fails(number):
    raise ValueError(f"not {number}")


def killed_at(number, which):
    if number == which:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def pid_of(_=None):
    return os.getpid()


def wait_for(event, result=None):
    event.wait()
    return result


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


class Unsendable:
    def __reduce__(self):
        raise LookupError("cannot be sent")


def returns_unsendable():
    return Unsendable()


class Unreadable:
    def __reduce__(self):
        return fails, (3,)


def returns_unreadable():
    return Unreadable()


def set_mark(value):
    globals()["mark"] = value


def get_mark(_=None):
    return globals()["mark"]


def refuses():
    raise LookupError("this initializer always fails")


def test_what_it_is(context):
    with ramet.ProcessPoolExecutor(2, context) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
        future = executor.submit(everything, 1, fn=2, self=3)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result() == ((1,), {"fn": 2, "self": 3})
        assert executor.submit(pid_of).result() in executor._processes
        assert not executor._broken
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)


def test_a_context_of_the_standard_library(method):
    with ramet.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
        assert executor.submit(square, 4).result() == 16
        assert executor._mp_context is ramet.get_context(method)


def test_bad_arguments():
    for arguments, error in (
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 3}, TypeError),
        ({"max_tasks_per_child": "3"}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
    ):
        with pytest.raises(error):
            ramet.ProcessPoolExecutor(**arguments)
    with ramet.ProcessPoolExecutor(1) as executor:
        for arguments, error in (
            ({"chunksize": 0}, ValueError),
            ({"buffersize": 0}, ValueError),
            ({"buffersize": 1.5}, TypeError),
        ):
            with pytest.raises(error):
                executor.map(square, [1], **arguments)


def test_nothing_starts_before_the_first_call():
    threads = threading.active_count()
    executor = ramet.ProcessPoolExecutor(2)
    assert not executor._processes
    assert not ramet.active_children()
    assert threading.active_count() == threads
    executor.shutdown()


def test_map(forks):
    with ramet.ProcessPoolExecutor(2, forks) as executor:
        assert list(executor.map(square, range(100))) == [n * n for n in range(100)]
        assert list(executor.map(square, range(100), chunksize=7)) == [n * n for n in range(100)]
        assert list(executor.map(pow, [2, 3, 4], [5, 6])) == [32, 729]
        assert list(executor.map(square, [])) == []
        results = executor.map(killed_at, range(5), [3] * 5)
        assert list(itertools.islice(results, 3)) == [0, 1, 2]
        with pytest.raises(WorkerDied):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


def test_map_reads_no_more_than_its_buffer():
    read = []
    with ramet.ProcessPoolExecutor(2) as executor:
        numbers = (read.append(n) or n for n in itertools.count())
        results = executor.map(square, numbers, buffersize=4)
        assert read == [0, 1, 2, 3]
        assert [next(results) for _ in range(50)] == [n * n for n in range(50)]
        assert len(read) <= 54
        results.close()
        results = executor.map(square, iter(range(10)), buffersize=2, chunksize=3)
        assert list(results) == [n * n for n in range(10)]


def test_map_has_a_time_limit():
    event = ramet.Event()
    with ramet.ProcessPoolExecutor(1) as executor:
        results = executor.map(wait_for, [event] * 5, timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        event.set()


def test_a_dead_worker_costs_its_own_call(context):
    with ramet.ProcessPoolExecutor(2, context) as executor:
        futures = [executor.submit(killed_at, n, 7) for n in range(40)]
        for n, future in enumerate(futures):
            if n == 7:
                error = future.exception()
                assert isinstance(error, WorkerDied)
                assert isinstance(error, BrokenProcessPool)
                assert isinstance(error, pool.WorkerDied)
                assert error.exitcode == -signal.SIGKILL
                assert "SIGKILL" in str(error)
                assert "this call" in str(error)
            else:
                assert future.result() == n
        assert executor.submit(square, 5).result() == 25
        assert not executor._broken


def test_errors_come_back(forks):
    with ramet.ProcessPoolExecutor(2, forks) as executor:
        with pytest.raises(ValueError, match="not 3") as info:
            executor.submit(fails, 3).result()
        assert "in fails" in str(info.value.__cause__)
        with pytest.raises(LookupError, match="cannot be sent"):
            executor.submit(square, Unsendable()).result()
        assert executor.submit(returns_unsendable).exception() is not None
        with pytest.raises(ValueError, match="not 3"):
            executor.submit(returns_unreadable).result()
        assert executor.submit(square, 5).result() == 25


def test_functions_go_by_value():
    pytest.importorskip("cloudpickle")
    number = 3
    with ramet.ProcessPoolExecutor(2, ramet.get_context("forkserver")) as executor:
        assert executor.submit(lambda n: n + number, 4).result() == 7
        assert list(executor.map(lambda n: n + number, range(4))) == [3, 4, 5, 6]


def test_cancelling():
    event = ramet.Event()
    with ramet.ProcessPoolExecutor(1) as executor:
        futures = [executor.submit(wait_for, event, n) for n in range(8)]
        assert futures[0].running()
        assert not futures[0].cancel()
        assert futures[-1].cancel()
        assert concurrent.futures.wait(futures[-1:]).done == {futures[-1]}
        event.set()
        assert [future.result() for future in futures[:-1]] == list(range(7))


def test_shutdown_cancels_what_was_not_begun():
    event = ramet.Event()
    executor = ramet.ProcessPoolExecutor(1)
    futures = [executor.submit(wait_for, event, n) for n in range(8)]
    executor.shutdown(wait=False, cancel_futures=True)
    event.set()
    executor.shutdown()
    cancelled = [future.cancelled() for future in futures]
    assert cancelled[-1]
    assert cancelled == sorted(cancelled)
    assert [f.result() for f in futures if not f.cancelled()] == list(range(cancelled.count(False)))
    assert not executor._processes


def test_shutdown_finishes_what_was_submitted(forks):
    executor = ramet.ProcessPoolExecutor(2, forks)
    futures = [executor.submit(sleeps, 0.01) for _ in range(12)]
    executor.shutdown(wait=False)
    assert [future.result() for future in futures] == [0.01] * 12
    executor.shutdown()


def test_a_dropped_executor_finishes_what_was_submitted():
    executor = ramet.ProcessPoolExecutor(2)
    futures = [executor.submit(sleeps, 0.01) for _ in range(12)]
    workers = list(executor._processes.values())
    del executor
    gc.collect()
    assert [future.result() for future in futures] == [0.01] * 12
    for worker in workers:
        worker.join()


@pytest.mark.parametrize("how", ["kill_workers", "terminate_workers"])
def test_ending_the_workers(how, forks):
    executor = ramet.ProcessPoolExecutor(2, forks)
    event = ramet.Event()
    futures = [executor.submit(wait_for, event) for _ in range(12)]
    getattr(executor, how)()
    for future in futures[:2]:
        with pytest.raises(BrokenProcessPool):
            future.result()
    assert futures[-1].cancelled()
    executor.shutdown()
    assert not executor._processes


def test_initializer():
    with ramet.ProcessPoolExecutor(
        1, ramet.get_context("spawn"), initializer=set_mark, initargs=(5,)
    ) as executor:
        assert list(executor.map(get_mark, range(10))) == [5] * 10


def test_an_initializer_that_fails(capfd):
    executor = ramet.ProcessPoolExecutor(2, initializer=refuses)
    with pytest.raises(BrokenProcessPool):
        executor.submit(square, 3).result()
    with pytest.raises(BrokenProcessPool):
        executor.submit(square, 3)
    executor.shutdown()


def test_max_tasks_per_child(forks):
    with ramet.ProcessPoolExecutor(1, forks, max_tasks_per_child=3) as executor:
        pids = [executor.submit(pid_of).result() for _ in range(9)]
    assert len(set(pids)) == 3
    assert pids == sorted(pids, key=pids.index)


def test_many_calls_and_one_that_takes_long():
    """The job's table goes round while its first item is still worked on."""
    event = ramet.Event()
    with ramet.ProcessPoolExecutor(2) as executor:
        first = executor.submit(wait_for, event, "first")
        futures = [executor.submit(square, n) for n in range(5000)]
        assert [future.result() for future in futures] == [n * n for n in range(5000)]
        assert not first.done()
        event.set()
        assert first.result() == "first"


def test_no_thread_for_a_call():
    event = ramet.Event()
    with ramet.ProcessPoolExecutor(2) as executor:
        executor.submit(square, 1).result()
        threads = threading.active_count()
        futures = [executor.submit(wait_for, event) for _ in range(50)]
        assert threading.active_count() == threads
        event.set()
        concurrent.futures.wait(futures)


def test_a_callback_may_submit():
    results = []
    done = threading.Event()
    with ramet.ProcessPoolExecutor(2) as executor:

        def go_on(future):
            results.append(future.result())
            if len(results) == 20:
                done.set()
            else:
                executor.submit(square, len(results)).add_done_callback(go_on)

        executor.submit(square, 0).add_done_callback(go_on)
        done.wait()
    assert results == [n * n for n in range(20)]


def test_threads_submit_at_once():
    found = {}
    with ramet.ProcessPoolExecutor(2) as executor:

        def submit(first):
            found[first] = [executor.submit(square, n) for n in range(first, first + 200)]

        threads = [threading.Thread(target=submit, args=(n * 200,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for first, futures in found.items():
            assert [f.result() for f in futures] == [n * n for n in range(first, first + 200)]


def test_asyncio_runs_calls_in_it(forks):
    async def main():
        loop = asyncio.get_running_loop()
        with ramet.ProcessPoolExecutor(2, forks) as executor:
            calls = [loop.run_in_executor(executor, killed_at, n, 5) for n in range(20)]
            return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    assert isinstance(results[5], WorkerDied)
    assert [r for r in results if r is not results[5]] == [n for n in range(20) if n != 5]


def test_a_program_that_ends_without_shutdown(tmp_path, method):
    script = tmp_path / "forgets.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os
            import time
            import ramet

            def call(number):
                time.sleep(0.01)
                os.write(1, f"call {{number}}\\n".encode())  # at once, whatever stdout is

            if __name__ == "__main__":
                executor = ramet.ProcessPoolExecutor(2, ramet.get_context({method!r}))
                for number in range(10):
                    executor.submit(call, number)
            """
        )
    )
    code, out, err = family.run(script)
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == [f"call {n}" for n in range(10)]
