"""Pools: results, bad input, and what a dead worker, an interrupt or a forgotten pool leaves."""

import functools
import gc
import multiprocessing.pool
import os
import signal
import sys
import textwrap
import threading
import time
import warnings

import family
import pytest
import ramet
from ramet.pool import MaybeEncodingError, PoolTerminated, ThreadPool, WorkerDied


@pytest.fixture
def context(method):
    return ramet.get_context(method)


def square(number):
    return number * number


def fails(number):
    if number % 7 == 3:
        raise ValueError(f"not {number}")
    return number


def killed(number):
    if number in (23, 57):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def exits(number):
    if number == 3:
        os._exit(9)
    if number == 5:
        sys.exit(11)
    return number


def pid_of(_):
    time.sleep(0.005)
    return os.getpid()


def wait_for(event):
    event.wait()


def wait_at(barrier):
    return barrier.wait()


def unsendable(_):
    return lambda: None


class Unsendable:
    def __reduce__(self):
        raise LookupError("cannot be sent")


class Unreadable:
    """Goes out, and cannot be read where it arrives."""

    def __reduce__(self):
        return fails, (3,)


def unreadable(_):
    return Unreadable()


def big(size):
    return bytes(size)


def set_up(value):
    global set_up_value
    set_up_value = value


def get_set_up(_):
    return set_up_value


def cannot_start():
    raise ValueError("no worker today")


def test_results(context):
    with context.Pool(3) as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert pool.map(square, range(1000)) == [n * n for n in range(1000)]
        assert pool.map(square, (n for n in range(10)), chunksize=3) == [n * n for n in range(10)]
        assert pool.map(square, []) == []
        assert pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]
        assert pool.apply(divmod, (7, 2)) == (3, 1)
        assert pool.apply(dict, (), {"a": 1}) == {"a": 1}
        result = pool.map_async(square, range(10))
        assert isinstance(result, multiprocessing.pool.MapResult)
        assert result.get(60) == [n * n for n in range(10)]
        assert result.ready() and result.successful()
        assert list(pool.imap(square, range(3000))) == [n * n for n in range(3000)]
        assert list(pool.imap(square, iter(range(100)), 7)) == [n * n for n in range(100)]
        assert sorted(pool.imap_unordered(square, range(100), 7)) == [n * n for n in range(100)]
        sizes = [10, 100_000, 10, 5_000_000, 0]
        assert [len(data) for data in pool.map(big, sizes)] == sizes
        assert list(pool.imap(len, map(bytes, sizes))) == sizes
        assert pool.map(len, [bytes(size) for size in sizes]) == sizes


RANGES = [
    range(1),
    range(1000),
    range(10, -2000, -3),
    range(-(2**7) - 3, 2**7 + 3),
    range(2**15 - 3, 2**15 + 3),
    range(2**31 + 5, 2**31 - 5, -1),
    range(-(2**63), 2**63, 2**57),
    range(2**63 - 2, 2**63 + 2),
    range(2**70, 2**70 + 5),
    range(0),
]


@pytest.mark.parametrize("numbers", RANGES, ids=repr)
def test_a_range_gives_its_numbers(numbers):
    with ramet.get_context("fork").Pool(2) as pool:
        for chunksize in (None, 1, 7):
            assert pool.map(int.__neg__, numbers, chunksize) == [-n for n in numbers]


class Number(int):
    pass


def itself(value):
    return value


def test_small_results_keep_their_types():
    edges = [
        2**bits + d for bits in (0, 7, 8, 15, 16, 30, 31, 32, 60, 62, 63, 64) for d in (-1, 0, 1)
    ]
    values = [*edges, *(-n for n in edges), None, True, False, 0.0, -0.0, 1e300, float("inf")]
    values += [Number(3), (), [], "", b"", 1j, ...]
    with ramet.get_context("fork").Pool(2) as pool:
        for chunksize in (None, 3):
            got = pool.map(itself, values, chunksize)
            assert list(map(repr, got)) == list(map(repr, values))
            assert [type(value).__name__ for value in got] == [type(v).__name__ for v in values]


def test_callbacks_run_before_the_result_is_ready(context):
    with context.Pool(2) as pool:
        seen, errors = [], []
        results = [pool.apply_async(fails, (n,), {}, seen.append, errors.append) for n in range(20)]
        for number, result in enumerate(results):
            result.wait()
            assert number in seen or f"not {number}" in [str(error) for error in errors]
        pool.map_async(square, range(10), callback=seen.append).wait()
        assert seen[-1] == [n * n for n in range(10)]


def test_exceptions(context):
    with context.Pool(2) as pool:
        with pytest.raises(ValueError, match="not 3") as caught:
            pool.map(fails, range(100))
        assert isinstance(caught.value.__cause__, multiprocessing.pool.RemoteTraceback)
        assert "raise ValueError" in str(caught.value.__cause__)
        iterator = pool.imap(fails, range(10))
        assert [next(iterator) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="not 3"):
            next(iterator)
        assert list(iterator) == [4, 5, 6, 7, 8, 9]
        with pytest.raises(MaybeEncodingError):
            pool.apply(unsendable, (1,))
        with pytest.raises(ValueError, match="not 3"):
            pool.apply(unreadable, (1,))
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]


class NeedsTwo(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def raises_unreadable(number):
    if number == 3:
        raise NeedsTwo("not 3", "whatever")
    return number


def returns_unreadable(number):
    return Unreadable() if number == 3 else number


def outcomes(iterator):
    """The results and the exceptions of an iterator of a pool."""
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except Exception as error:
            yield error


def test_an_exception_that_does_not_unpickle_brings_the_worker_s_traceback(context):
    with context.Pool(2) as pool:
        got = list(outcomes(pool.imap(raises_unreadable, range(6))))
        errors = [got.pop(3)]
        assert got == [0, 1, 2, 4, 5]
        for call in (pool.map, pool.map_async):
            with pytest.raises(TypeError) as caught:
                result = call(raises_unreadable, range(6))
                result.get()
            errors.append(caught.value)
        with pytest.raises(TypeError) as caught:
            pool.apply(raises_unreadable, (3,))
        errors.append(caught.value)
        for error in errors:
            assert "second" in str(error) and "unpickled" in error.__notes__[0]
            assert isinstance(error.__cause__, multiprocessing.pool.RemoteTraceback)
            assert "NeedsTwo: not 3" in str(error.__cause__)
            assert "in raises_unreadable" in str(error.__cause__)


def test_a_result_that_does_not_unpickle_fails_its_item_alone(context):
    with context.Pool(2) as pool:
        got = list(outcomes(pool.imap(returns_unreadable, range(6), chunksize=6)))
        errors = [got.pop(3)]
        assert got == [0, 1, 2, 4, 5]
        with pytest.raises(ValueError, match="not 3") as caught:
            pool.map(returns_unreadable, range(6))
        errors.append(caught.value)
        for error in errors:
            assert "the result of item 3" in error.__notes__[0]
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]


def raises_a_queue(number):
    queue = ramet.Queue()
    queue.put(number)
    raise ValueError(queue)


def test_an_exception_keeps_the_objects_that_it_brings(context):
    with context.Pool(1) as pool:
        with pytest.raises(ValueError) as caught:
            pool.apply(raises_a_queue, (7,))
        pool.map(square, range(5))
        assert caught.value.args[0].get() == 7


def test_what_cannot_be_sent_raises_in_the_caller(context, monkeypatch):
    with context.Pool(2) as pool:
        with pytest.raises(LookupError):
            pool.map(square, [*range(1000), Unsendable()])
        with pytest.raises(LookupError):
            pool.apply(square, (Unsendable(),))
        monkeypatch.setitem(sys.modules, "cloudpickle", None)  # as if it were not installed
        with pytest.raises(AttributeError if sys.version_info < (3, 14) else Exception):
            pool.map(lambda n: n, range(3))
        iterator = pool.imap(square, [1, Unsendable(), 3, Unsendable()])
        assert next(iterator) == 1
        with pytest.raises(LookupError):
            next(iterator)
        assert next(iterator) == 9
        with pytest.raises(LookupError):
            next(iterator)
        with pytest.raises(StopIteration):
            next(iterator)
        # What cannot be read fails its item, where the standard library's worker would die.
        with pytest.raises(ValueError, match="not 3"):
            pool.map(square, [1, Unreadable()])
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]


def test_wrong_arguments():
    for processes in (0, -1):
        with pytest.raises(ValueError):
            ramet.Pool(processes)
    with pytest.raises(ValueError):
        ramet.Pool(1, maxtasksperchild=0)
    with pytest.raises(TypeError):
        ramet.Pool(1, initializer=3)
    with ramet.Pool(1) as pool:
        for chunksize in (0, -1):
            for name in ("imap", "imap_unordered"):
                with pytest.raises(ValueError):
                    getattr(pool, name)(square, [1], chunksize)
        with pytest.raises(TypeError):
            pool.map(square, 3)
        with pytest.raises(TypeError):
            next(pool.imap(square, 3))
        with pytest.raises(ValueError):
            pool.join()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(square, [1])
    with pytest.raises(NotImplementedError):
        pool.__reduce__()
    assert issubclass(ThreadPool, multiprocessing.pool.ThreadPool)


def test_a_killed_worker_fails_its_item_and_no_other(context):
    with context.Pool(2) as pool:
        others = pool.map_async(square, range(100))
        with pytest.raises(WorkerDied, match=r"killed by signal 9 .SIGKILL.*item 23") as caught:
            pool.map(killed, range(100))
        assert sorted(caught.value.items) == [23, 57]
        assert caught.value.pid in {pid for pid, _, _ in caught.value.deaths}
        assert all(code == -signal.SIGKILL for _, code, _ in caught.value.deaths)
        assert others.get() == [n * n for n in range(100)]
        iterator = pool.imap_unordered(killed, range(60))
        values, dead = [], {pid for pid, _, _ in caught.value.deaths}
        for _ in range(60):
            try:
                values.append(next(iterator))
            except WorkerDied as error:
                assert error.items in ([23], [57])
                dead.add(error.pid)
        assert len(dead) == 4 and sorted(values) == sorted({*range(60)} - {23, 57})
        assert pool.map(square, range(10)) == [n * n for n in range(10)]
        assert len(pool._pool) == 2
        assert dead.isdisjoint(worker.pid for worker in pool._pool)


def test_a_worker_that_exits(context):
    with context.Pool(2) as pool:
        with pytest.raises(WorkerDied, match="exited with code 9"):
            pool.map(exits, [1, 2, 3])
        with pytest.raises(WorkerDied, match="exited with code 11"):
            pool.apply(exits, (5,))
        assert pool.apply(exits, (1,)) == 1


def test_idle_workers_that_are_killed_are_replaced(context):
    with context.Pool(2) as pool:
        pool.map(square, range(10))
        for worker in pool._pool:
            os.kill(worker.pid, signal.SIGKILL)
        assert pool.map(square, range(10)) == [n * n for n in range(10)]


def test_initializer_and_lifetime(context):
    with context.Pool(2, set_up, (17,), maxtasksperchild=3) as pool:
        assert pool.map(get_set_up, range(10), chunksize=2) == [17] * 10
        assert len(set(pool.map(pid_of, range(18), chunksize=1))) >= 6


def test_workers_that_cannot_start_are_an_error(context, capfd):
    with context.Pool(2, cannot_start) as pool:
        with pytest.raises(RuntimeError, match="cannot start"):
            pool.map(square, range(10))
        with pytest.raises(RuntimeError, match="cannot start"):
            pool.apply(square, (1,))
    assert "no worker today" in capfd.readouterr().err


def test_close_and_join_finish_everything(context):
    pool = context.Pool(2)
    seen = []
    calls = [pool.apply_async(square, (n,), callback=seen.append) for n in range(50)]
    blocking = pool.imap(square, (n for n in range(5000)))
    sized = pool.imap_unordered(square, range(5000))
    pool.imap(square, (n for n in range(5000)))  # which nobody wants
    pool.close()
    pool.join()
    assert sorted(seen) == [n * n for n in range(50)]
    assert all(call.ready() for call in calls)
    assert list(blocking) == [n * n for n in range(5000)]
    assert sorted(sized) == [n * n for n in range(5000)]


def test_terminate_ends_what_waits(context):
    event = context.Event()
    pool = context.Pool(2)
    result = pool.apply_async(wait_for, (event,))
    results = pool.map_async(wait_for, [event] * 10)
    iterator = pool.imap(wait_for, [event] * 10)
    timer = threading.Timer(0.2, pool.terminate)
    timer.start()
    with pytest.raises(PoolTerminated):
        result.get()
    with pytest.raises(PoolTerminated):
        results.get()
    with pytest.raises(PoolTerminated):
        next(iterator)
    timer.join()
    pool.join()


def test_timeouts(context):
    event = context.Event()
    with context.Pool(1) as pool:
        result = pool.apply_async(wait_for, (event,))
        with pytest.raises(ramet.TimeoutError):
            result.get(0.01)
        assert not result.ready()
        with pytest.raises(ValueError):
            result.successful()
        with pytest.raises(ramet.TimeoutError):
            pool.imap(square, [1]).next(timeout=0.01)
        event.set()
        assert result.get() is None


def test_inputs_are_read_no_faster_than_they_are_used():
    read = []

    def numbers():
        for number in range(100_000):
            read.append(number)
            yield number

    with ramet.Pool(2) as pool:
        iterator = pool.imap(square, numbers())
        for _ in range(10):
            next(iterator)
        time.sleep(0.2)
        assert len(read) < 2000


def wait_or_release(event, semaphore, number):
    if number == 0:
        event.wait()
    else:
        semaphore.release()
    return number


def test_an_item_that_blocks_does_not_keep_those_after_it():
    context = ramet.get_context("fork")
    event, semaphore = context.Event(), context.Semaphore(0)
    with context.Pool(2) as pool:
        task = functools.partial(wait_or_release, event, semaphore)
        result = pool.map_async(task, range(5000))
        for _ in range(4999):
            semaphore.acquire()
        assert not result.ready()
        event.set()
        assert result.get() == list(range(5000))


def test_all_workers_work():
    context = ramet.get_context("fork")
    barrier = context.Barrier(4)
    with context.Pool(4) as pool:
        assert sorted(pool.map(wait_at, [barrier] * 8)) == sorted([0, 1, 2, 3] * 2)


def test_a_forgotten_pool_is_warned_of_and_ended():
    pool = ramet.Pool(2)
    workers = list(pool._pool)
    pool.map(square, range(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.MonkeyPatch.context() as patch:
            caught = []
            patch.setattr(sys, "unraisablehook", lambda args: caught.append(args.exc_value))
            pool.itself = (
                pool  # found by the collector, which runs callbacks of weak references first
            )
            del pool
            gc.collect()
    assert [type(warning) for warning in caught] == [ResourceWarning]
    assert "state=RUN pool_size=2" in str(caught[0])
    for worker in workers:
        worker.join()


PROGRAM = """
import os, signal, sys, threading, time
import ramet

def square(n):
    return n * n

def main():
    global pool
    ramet.set_start_method(sys.argv[1])
    pool = ramet.Pool(3)
    {body}

{guard}
"""


def run(tmp_path, method, body, guard="if __name__ == '__main__':\n    main()"):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).format(body=body, guard=guard))
    path = os.path.dirname(os.path.dirname(ramet.__file__))
    return family.run(program, method, env={"PYTHONPATH": path})


def test_an_interrupt_ends_the_wait_and_the_workers(tmp_path, method):
    body = (
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    pool.map(time.sleep, [60])"
    )
    code, _, err = run(tmp_path, method, body)
    assert code in (1, -signal.SIGINT, 130)
    assert "KeyboardInterrupt" in err


def test_a_pool_that_is_not_closed_ends_with_the_program(tmp_path, method):
    code, out, err = run(tmp_path, method, "print(pool.map(square, range(3)))")
    assert (code, out, err) == (0, "[0, 1, 4]\n", "")


def test_the_death_of_the_parent_ends_the_workers(tmp_path, method):
    body = "pool.map_async(time.sleep, [60] * 3); os.kill(os.getpid(), signal.SIGKILL)"
    code, _, _ = run(tmp_path, method, body)
    assert code == -signal.SIGKILL


def test_a_missing_guard_is_one_error(tmp_path):
    for method in ("spawn", "forkserver"):
        code, _, err = run(tmp_path, method, "print(pool.map(square, range(3)))", guard="main()")
        assert code == 1
        assert "if __name__ == '__main__':" in err
        assert err.count("Traceback") == 1, err
