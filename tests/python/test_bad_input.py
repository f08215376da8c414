# SPDX-License-Identifier: MIT
"""Bad input is the exception that the standard library raises, and leaves things working.

What can be asked of both packages is asked of both at run time, so that the answer is right on
every version of the interpreter. What the standard library does not survive (a killed worker) is
asked of ramet only.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time

import pytest
import ramet


def outcome(function, package):
    """The type of the exception that function(package) raises, or None."""
    try:
        function(package)
    except Exception as error:
        return type(error)
    return None


def same_type(ours, theirs):
    """Whether two exception types are one for the caller; each package has classes of its own."""
    if ours is None or theirs is None:
        return ours is theirs
    return issubclass(ours, theirs) or ours.__name__ == theirs.__name__ == "MaybeEncodingError"


def pool_with(context, function, **options):
    with context.Pool(1, **options) as pool:
        function(pool)


def identity(value):
    return value


CONSTRUCTORS = {
    "pool of 0": lambda mp: mp.Pool(0),
    "pool of -1": lambda mp: mp.Pool(-1),
    "pool of text": lambda mp: mp.Pool("2"),
    "pool of 1.5": lambda mp: mp.Pool(1.5),
    "initializer is no function": lambda mp: mp.Pool(1, initializer=3),
    "maxtasksperchild 0": lambda mp: mp.Pool(1, maxtasksperchild=0),
    "maxtasksperchild -1": lambda mp: mp.Pool(1, maxtasksperchild=-1),
    "maxtasksperchild text": lambda mp: mp.Pool(1, maxtasksperchild="1"),
    "unknown start method": lambda mp: mp.get_context("clone"),
    "start method is a number": lambda mp: mp.get_context(3),
    "set unknown start method": lambda mp: mp.get_context().set_start_method("clone", force=True),
    "default set to unknown": lambda mp: mp.set_start_method("clone", force=True),
    "unknown type code": lambda mp: mp.Value("Z", 0),
    "empty type code": lambda mp: mp.Value("", 0),
    "type code is None": lambda mp: mp.Value(None, 0),
    "type code is a number": lambda mp: mp.Value(3, 0),
    "value of the wrong type": lambda mp: mp.Value("i", "text"),
    "value with two arguments": lambda mp: mp.Value("i", 1, 2),
    "value with a wrong lock": lambda mp: mp.Value("i", 1, lock=3),
    "raw value of unknown type": lambda mp: mp.RawValue("Z", 0),
    "array of unknown type": lambda mp: mp.Array("Z", 3),
    "array of size -1": lambda mp: mp.Array("i", -1),
    "array of size 1.5": lambda mp: mp.Array("i", 1.5),
    "array of wrong items": lambda mp: mp.Array("i", ["a"]),
    "array of None": lambda mp: mp.Array("i", None),
    "array with a wrong lock": lambda mp: mp.Array("i", 3, lock=3),
    "raw array of unknown type": lambda mp: mp.RawArray("Z", 3),
    "raw array of size -1": lambda mp: mp.RawArray("i", -1),
    "semaphore of -1": lambda mp: mp.Semaphore(-1),
    "semaphore of text": lambda mp: mp.Semaphore("1"),
    "semaphore of 1.5": lambda mp: mp.Semaphore(1.5),
    "semaphore beyond the limit": lambda mp: mp.Semaphore(2**31),
    "semaphore far beyond the limit": lambda mp: mp.Semaphore(2**70),
    "bounded semaphore of -1": lambda mp: mp.BoundedSemaphore(-1),
    "bounded semaphore of text": lambda mp: mp.BoundedSemaphore("1"),
    "barrier with a wrong action": lambda mp: mp.Barrier(1, action=3).wait(),
    "queue of text": lambda mp: mp.Queue("3"),
    "queue of 1.5": lambda mp: mp.Queue(1.5),
    "joinable queue of text": lambda mp: mp.JoinableQueue("3"),
    "process with a group": lambda mp: mp.Process(group=3),
    "process with wrong arguments": lambda mp: mp.Process(target=identity, args=3),
    "process with a wrong daemon flag": lambda mp: mp.Process(target=identity, daemon=3).daemon,
    "join before start": lambda mp: mp.Process(target=identity).join(),
    "terminate before start": lambda mp: mp.Process(target=identity).terminate(),
    "kill before start": lambda mp: mp.Process(target=identity).kill(),
    "exit code before start": lambda mp: mp.Process(target=identity).exitcode,
    "close before start": lambda mp: mp.Process(target=identity).close(),
    "name is a number": lambda mp: setattr(mp.Process(target=identity), "name", 3),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructors(name):
    theirs = outcome(CONSTRUCTORS[name], multiprocessing)
    ours = outcome(CONSTRUCTORS[name], ramet)
    assert same_type(ours, theirs), (ours, theirs)


CALLS = {
    "queue get with a wrong time-out": ("Queue", lambda queue: queue.get(timeout="soon")),
    "queue get with a negative time-out": ("Queue", lambda queue: queue.get(timeout=-1)),
    "queue get without waiting": ("Queue", lambda queue: queue.get(block=False)),
    "queue get_nowait": ("Queue", lambda queue: queue.get_nowait()),
    "queue get after close": ("Queue", lambda queue: (queue.close(), queue.get())),
    "queue put after close": ("Queue", lambda queue: (queue.close(), queue.put(1))),
    "queue put without an item": ("Queue", lambda queue: queue.put()),
    "queue join_thread before close": ("Queue", lambda queue: queue.join_thread()),
    "task_done too often": ("JoinableQueue", lambda queue: queue.task_done()),
    "lock released by nobody": ("Lock", lambda lock: lock.release()),
    "lock with a wrong time-out": ("Lock", lambda lock: lock.acquire(timeout="soon")),
    "lock with a list for time-out": ("Lock", lambda lock: lock.acquire(True, [])),
    "held lock, wrong time-out": ("Lock", lambda lock: (lock.acquire(), lock.acquire(True, "x"))),
    "rlock released by nobody": ("RLock", lambda lock: lock.release()),
    "rlock with a wrong time-out": ("RLock", lambda lock: lock.acquire(timeout="soon")),
    "semaphore with a wrong time-out": ("Semaphore", lambda each: each.acquire(True, "soon")),
    "bounded semaphore over its bound": ("BoundedSemaphore", lambda each: each.release()),
    "condition waited for without it": ("Condition", lambda each: each.wait(0)),
    "condition notified without it": ("Condition", lambda each: each.notify()),
    "condition notify_all without it": ("Condition", lambda each: each.notify_all()),
    "condition released by nobody": ("Condition", lambda each: each.release()),
    "event with a wrong time-out": ("Event", lambda event: event.wait("soon")),
    "event with a list for time-out": ("Event", lambda event: event.wait([])),
    "pipe with too many arguments": ("Pipe", lambda pipe: pipe[0].send()),
    "pipe: time-out": ("Pipe", lambda pipe: pipe[0].poll("soon")),
    "pipe: send on a closed end": ("Pipe", lambda pipe: (pipe[0].close(), pipe[0].send(1))),
    "pipe: recv on a closed end": ("Pipe", lambda pipe: (pipe[0].close(), pipe[0].recv())),
    "pipe: poll on a closed end": ("Pipe", lambda pipe: (pipe[0].close(), pipe[0].poll())),
    "pipe: fileno of a closed end": ("Pipe", lambda pipe: (pipe[0].close(), pipe[0].fileno())),
    "pipe: recv, the other end closed": ("Pipe", lambda pipe: (pipe[1].close(), pipe[0].recv())),
    "pipe: send, the other end closed": ("Pipe", lambda pipe: (pipe[1].close(), pipe[0].send(1))),
    "pipe: text as bytes": ("Pipe", lambda pipe: pipe[0].send_bytes("text")),
    "pipe: a number as bytes": ("Pipe", lambda pipe: pipe[0].send_bytes(3)),
    "pipe: offset beyond": ("Pipe", lambda pipe: pipe[0].send_bytes(b"abc", 4)),
    "pipe: offset negative": ("Pipe", lambda pipe: pipe[0].send_bytes(b"abc", -1)),
    "pipe: size negative": ("Pipe", lambda pipe: pipe[0].send_bytes(b"abc", 0, -1)),
    "pipe: size beyond": ("Pipe", lambda pipe: pipe[0].send_bytes(b"abc", 1, 3)),
    "pipe: length negative": ("Pipe", lambda pipe: pipe[0].recv_bytes(-1)),
    "pipe: message too long": (
        "Pipe",
        lambda pipe: (pipe[1].send_bytes(b"abcd"), pipe[0].recv_bytes(3)),
    ),
    "pipe: buffer too short": (
        "Pipe",
        lambda pipe: (pipe[1].send_bytes(b"abcd"), pipe[0].recv_bytes_into(bytearray(3))),
    ),
    "pipe: read-only buffer": (
        "Pipe",
        lambda pipe: (pipe[1].send_bytes(b"abcd"), pipe[0].recv_bytes_into(bytes(9))),
    ),
    "pipe: offset into a buffer": (
        "Pipe",
        lambda pipe: (pipe[1].send_bytes(b"abcd"), pipe[0].recv_bytes_into(bytearray(9), 10)),
    ),
    "pipe: what arrives is no pickle": (
        "Pipe",
        lambda pipe: (pipe[1].send_bytes(b"\x00\x01 no pickle"), pipe[0].recv()),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    kind, call = CALLS[name]
    theirs = outcome(lambda mp: call(getattr(mp, kind)()), multiprocessing)
    ours = outcome(lambda mp: call(getattr(mp, kind)()), ramet)
    assert same_type(ours, theirs), (ours, theirs)


@pytest.mark.parametrize("end", [0, 1])
def test_one_way_pipe(end):
    def wrong_way(mp):
        ends = mp.Pipe(duplex=False)
        return ends[0].send(1) if end == 0 else ends[1].recv()

    assert same_type(outcome(wrong_way, ramet), outcome(wrong_way, multiprocessing))


POOL_CALLS = {
    "chunksize text": lambda pool: pool.map(identity, range(4), chunksize="2"),
    "imap, chunksize 0": lambda pool: list(pool.imap(identity, range(4), chunksize=0)),
    "imap, chunksize -1": lambda pool: list(pool.imap(identity, range(4), chunksize=-1)),
    "imap_unordered, chunksize 0": lambda pool: list(pool.imap_unordered(identity, [1], 0)),
    "starmap, items that are no tuples": lambda pool: pool.starmap(identity, [1, 2]),
    "map over no iterable": lambda pool: pool.map(identity, 3),
    "imap over no iterable": lambda pool: list(pool.imap(identity, 3)),
    "map a number": lambda pool: pool.map(3, [1]),
    "apply a number": lambda pool: pool.apply(3),
    "apply with wrong arguments": lambda pool: pool.apply(identity, 3),
    "apply with too few arguments": lambda pool: pool.apply(identity),
    "get with a wrong time-out": lambda pool: pool.apply_async(time.sleep, (600,)).get("soon"),
    "get with a short time-out": lambda pool: pool.apply_async(time.sleep, (600,)).get(0.01),
    "successful too early": lambda pool: pool.apply_async(time.sleep, (600,)).successful(),
    "next with a short time-out": lambda pool: pool.imap(time.sleep, [600]).next(timeout=0.01),
    "join before close": lambda pool: pool.join(),
    "map after close": lambda pool: (pool.close(), pool.map(identity, [1])),
    "apply after close": lambda pool: (pool.close(), pool.apply(identity, (1,))),
    "imap after terminate": lambda pool: (pool.terminate(), pool.imap(identity, [1])),
    "with after close": lambda pool: (pool.close(), pool.__enter__()),
    "pickle of a pool": lambda pool: pickle.dumps(pool),
    "a lambda": lambda pool: pool.map(lambda each: each, [1]),
    "a lock as an argument": lambda pool: pool.map(identity, [threading.Lock()]),
    "a generator as an argument": lambda pool: pool.apply(identity, (iter_once(),)),
    "a result that can not be pickled": lambda pool: pool.apply(threading.Lock),
    "an iterable that raises": lambda pool: pool.map(identity, raising()),
    "a lazy iterable that raises": lambda pool: list(pool.imap(identity, raising())),
}


def iter_once():
    yield 1


def raising():
    yield 1
    raise ZeroDivisionError("in the iterable")


@pytest.mark.parametrize("name", POOL_CALLS)
def test_pool_calls(name, monkeypatch):
    # As if it were not installed: with it, a pool of ours takes a lambda; see test_functions.py.
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    def call(mp):
        pool_with(mp.get_context("fork"), POOL_CALLS[name])

    theirs = outcome(call, multiprocessing)
    ours = outcome(call, ramet)
    assert same_type(ours, theirs), (ours, theirs)


@pytest.mark.parametrize("chunksize", [0, -1, 1.5])
def test_map_with_a_wrong_chunksize(chunksize):
    """The standard library's imap() raises ValueError; its map() answers wrongly, or hangs."""
    with ramet.Pool(1) as pool:
        with pytest.raises(ValueError if chunksize < 1 else TypeError):
            pool.map(identity, range(4), chunksize=chunksize)
        assert pool.map(identity, [1]) == [1]


def test_barrier_of_something_else_than_a_number():
    """The standard library's waits for ever."""
    with pytest.raises(TypeError):
        ramet.Barrier("2")


def test_condition_of_something_else_than_a_lock():
    """The standard library raises AttributeError for what the object lacks by accident."""
    with pytest.raises((TypeError, AttributeError)):
        ramet.Condition(3)


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("not me")


def test_put_raises_in_the_caller():
    queue = ramet.Queue()
    queue.put("before")
    with pytest.raises(ZeroDivisionError, match="not me"):
        queue.put(Unpicklable())
    with pytest.raises((TypeError, pickle.PicklingError)):
        queue.put([1, 2, threading.Lock()])
    queue.put("after")
    assert [queue.get(), queue.get()] == ["before", "after"]
    assert queue.empty()


def test_put_on_a_full_queue_and_unpicklable_leaves_room():
    queue = ramet.Queue(1)
    with pytest.raises(ZeroDivisionError):
        queue.put(Unpicklable())
    queue.put(1, timeout=0)
    with pytest.raises(ramet.queues.Full):
        queue.put(2, timeout=0)


def test_send_raises_in_the_caller():
    ours, theirs = ramet.Pipe()
    with pytest.raises(ZeroDivisionError):
        ours.send(Unpicklable())
    ours.send("after")
    assert theirs.recv() == "after"


def test_simple_queue_put_raises_in_the_caller():
    queue = ramet.SimpleQueue()
    with pytest.raises(ZeroDivisionError):
        queue.put(Unpicklable())
    queue.put("after")
    assert queue.get() == "after"


class Poison:
    """Can be pickled; its decoding raises."""

    def __reduce__(self):
        return divide, (1, 0)


def divide(dividend, divisor):
    return dividend / divisor


def test_get_of_what_can_not_be_decoded():
    queue = ramet.Queue()
    queue.put(Poison())
    queue.put("after")
    with pytest.raises(ZeroDivisionError):
        queue.get()
    assert queue.get() == "after"


def test_map_raises_in_the_caller(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(ZeroDivisionError, match="not me"):
            pool.map(identity, [1, Unpicklable(), 3])
        with pytest.raises(ZeroDivisionError, match="not me"):
            pool.apply(identity, (Unpicklable(),))
        assert pool.map(identity, range(100)) == list(range(100))


def explode(value):
    if value == 3:
        raise KeyError("three", value)
    return value


def test_the_exception_has_the_remote_traceback(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(KeyError) as caught:
            pool.map(explode, range(5))
        assert caught.value.args == ("three", 3)
        assert "in explode" in str(caught.value.__cause__)
        with pytest.raises(KeyError) as caught:
            pool.apply(explode, (3,))
        assert "in explode" in str(caught.value.__cause__)
        results = pool.imap(explode, range(5))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError):
            next(results)
        assert list(results) == [4]
        failed = []
        pool.apply_async(explode, (3,), error_callback=failed.append).wait()
        assert [error.args for error in failed] == [("three", 3)]


class TwoArguments(Exception):
    """Does not survive pickle, since it keeps one argument and wants two."""

    def __init__(self, one, two):
        super().__init__(one)


def raise_two_arguments(_):
    raise TwoArguments(1, 2)


def test_pool_survives_an_exception_that_does_not_survive_pickle(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(Exception) as caught:
            pool.map(raise_two_arguments, [1])
        assert "TwoArguments" in repr(caught.value) + str(caught.value)
        assert pool.map(identity, range(10)) == list(range(10))


def die(value):
    """End this worker by a signal for one item, as the kernel does when memory runs out."""
    if value == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid() if value == "pid" else value


def check_names(error, item, number=signal.SIGKILL):
    """The error says which process died, of what, and what it was doing."""
    text = str(error)
    assert number.name in text, text
    assert item in text, text
    assert any(word.strip("(),.:;").isdigit() for word in text.split()), text


def test_worker_killed_in_map(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(Exception) as caught:
            pool.map(die, [1, 2, "die", 4, 5], chunksize=1)
        check_names(caught.value, "item 2")
        assert pool.map(die, range(50)) == list(range(50))


def test_worker_killed_in_apply(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(Exception) as caught:
            pool.apply_async(die, ("die",)).get()
        check_names(caught.value, "item 0")
        assert pool.apply(die, (3,)) == 3


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_worker_killed_in_imap(method, way):
    items = [1, 2, "die", 4, 5]
    with ramet.get_context(method).Pool(2) as pool:
        results = getattr(pool, way)(die, items)
        got, errors = [], []
        while True:
            try:
                got.append(next(results))
            except StopIteration:
                break
            except Exception as error:
                errors.append(error)
        assert sorted(got) == [1, 2, 4, 5]
        assert len(errors) == 1
        check_names(errors[0], "item 2")
        if way == "imap":
            assert got == [1, 2, 4, 5]
        assert list(getattr(pool, way)(die, [7])) == [7]


def announce_and_sleep(folder):
    """Name this worker in the folder, and then stay at this item."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def test_worker_killed_from_outside(method, tmp_path):
    """Only the one item fails that the dead worker was at, and the other work completes."""
    with ramet.get_context(method).Pool(2) as pool:
        victim = pool.apply(die, ("pid",))
        other = [pool.apply_async(die, (number,)) for number in range(20)]
        blocked = [pool.apply_async(announce_and_sleep, (tmp_path,)) for _ in range(2)]
        assert [each.get() for each in other] == list(range(20))
        while not (tmp_path / str(victim)).exists():
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        failed = 0
        while not failed:
            for each in blocked:
                if each.ready():
                    with pytest.raises(Exception) as caught:
                        each.get()
                    assert str(victim) in str(caught.value)
                    check_names(caught.value, "")
                    failed += 1
            time.sleep(0.01)
        assert failed == 1
        assert pool.apply(die, (3,)) == 3


def test_an_idle_worker_killed_costs_nothing(method):
    with ramet.get_context(method).Pool(2) as pool:
        victim = pool.apply(die, ("pid",))
        os.kill(victim, signal.SIGKILL)
        assert pool.map(die, range(200), chunksize=1) == list(range(200))


def test_killed_in_the_initializer_is_an_error(method):
    """A worker that can not even start is an error in the end, not a loop of new workers."""
    with ramet.get_context(method).Pool(2, initializer=die, initargs=("die",)) as pool:
        with pytest.raises(Exception) as caught:
            pool.map(identity, range(5))
        assert "SIGKILL" in str(caught.value)


def leave(value):
    if value == 2:
        os._exit(7)
    return value


def test_worker_that_exits(method):
    with ramet.get_context(method).Pool(2) as pool:
        with pytest.raises(Exception) as caught:
            pool.map(leave, range(4), chunksize=1)
        assert "7" in str(caught.value)
        assert pool.map(leave, [5, 6]) == [5, 6]


def test_an_item_too_large_for_memory_is_a_memory_error():
    """Larger than any machine: known before it is tried."""
    with pytest.raises((MemoryError, OverflowError)):
        ramet.RawArray("d", 2**50)
    assert list(ramet.RawArray("i", 3)) == [0, 0, 0]
