# SPDX-License-Identifier: MIT
"""The standard library's own classes accept ours, and ours its: contexts, managers, pickles, logs.

What is written for `multiprocessing` gets a context, a queue or a process of ramet, and must not
tell the difference.
"""

import concurrent.futures
import copyreg
import io
import logging
import logging.handlers
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.process
import multiprocessing.queues
import multiprocessing.reduction
import multiprocessing.shared_memory
import multiprocessing.sharedctypes
import multiprocessing.synchronize
import os
import queue

import pytest
import ramet
import ramet.connection
import ramet.managers
import ramet.queues
import ramet.shared_memory


@pytest.fixture
def context(method):
    return ramet.get_context(method)


def square(number):
    return number * number


# -------------------------------------------------------------------------------------- classes


def test_our_classes_are_the_standard_library_s(context):
    std = multiprocessing
    process = context.Process(target=square, args=(1,))
    ours, theirs = context.Pipe()
    for thing, cls in (
        (context, std.context.BaseContext),
        (context, type(std.get_context(context.get_start_method()))),
        (process, std.process.BaseProcess),
        (context.Queue(), std.queues.Queue),
        (context.JoinableQueue(), std.queues.JoinableQueue),
        (context.SimpleQueue(), std.queues.SimpleQueue),
        (context.Lock(), std.synchronize.Lock),
        (context.RLock(), std.synchronize.RLock),
        (context.Semaphore(), std.synchronize.Semaphore),
        (context.BoundedSemaphore(), std.synchronize.BoundedSemaphore),
        (context.Condition(), std.synchronize.Condition),
        (context.Event(), std.synchronize.Event),
        (context.Barrier(1), std.synchronize.Barrier),
        (context.Lock(), std.synchronize.SemLock),
        (ours, std.connection.Connection),
        (theirs, std.connection._ConnectionBase),
        (context.Value("i"), std.sharedctypes.Synchronized),
        (context.Array("i", 2), std.sharedctypes.SynchronizedArray),
    ):
        assert isinstance(thing, cls), cls
    with context.Pool(1) as pool:
        assert isinstance(pool, std.pool.Pool)
        assert isinstance(pool.apply_async(square, (2,)), std.pool.ApplyResult)
        assert isinstance(pool.map_async(square, [2]), std.pool.MapResult)
        assert isinstance(pool.imap(square, [2]), std.pool.IMapIterator)
        assert isinstance(pool.imap_unordered(square, [2]), std.pool.IMapUnorderedIterator)


def test_exceptions_are_the_same_objects(context):
    for name in ("ProcessError", "BufferTooShort", "TimeoutError", "AuthenticationError"):
        assert getattr(ramet, name) is getattr(multiprocessing, name)
        assert getattr(context, name) is getattr(multiprocessing, name)
    assert ramet.queues.Empty is queue.Empty and ramet.queues.Full is queue.Full
    if hasattr(queue, "ShutDown"):
        assert ramet.queues.ShutDown is queue.ShutDown


# -------------------------------------------------------- the standard library's, with our context


def fill(their_queue, count):
    for number in range(count):
        their_queue.put(number)


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_their_queues(context, kind):
    theirs = getattr(multiprocessing.queues, kind)(ctx=context)
    process = context.Process(target=fill, args=(theirs, 50))
    process.start()
    assert [theirs.get() for _ in range(50)] == list(range(50))
    process.join()
    assert process.exitcode == 0
    if kind == "JoinableQueue":
        for _ in range(50):
            theirs.task_done()
        theirs.join()
    if kind != "SimpleQueue":
        theirs.close()
        theirs.join_thread()


def test_their_synchronisation_goes_to_our_processes(context):
    """Objects made with a context of the standard library, as libraries have them in globals."""
    std = multiprocessing.get_context(context.get_start_method())
    lock, event, value, answers = std.Lock(), std.Event(), std.Value("i", 5), std.SimpleQueue()
    process = context.Process(target=use_theirs, args=(lock, event, value, answers))
    process.start()
    event.set()
    assert answers.get() == "done"
    process.join()
    assert value.value == 6


def use_theirs(lock, event, value, answers):
    event.wait()
    with lock:
        value.value += 1
    answers.put("done")


def test_our_objects_go_to_their_processes():
    """Under fork: their other methods know nothing of the arena."""
    std = multiprocessing.get_context("fork")
    ours, value = ramet.Queue(), ramet.Value("i", 5)
    process = std.Process(target=use_ours, args=(ours, value))
    process.start()
    assert ours.get() == "done"
    process.join()
    assert value.value == 6


def use_ours(ours, value):
    with value:
        value.value += 1
    ours.put("done")


def test_their_pool(context):
    with multiprocessing.pool.Pool(2, context=context) as pool:
        assert pool.map(square, range(50)) == [n * n for n in range(50)]
        assert list(pool.imap(square, range(5))) == [0, 1, 4, 9, 16]
        assert pool.apply(square, (3,)) == 9
        pool.close()
        pool.join()


def test_their_executor(context):
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(square, range(50))) == [n * n for n in range(50)]
        assert executor.submit(square, 3).result() == 9
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()


def test_their_pool_ends_what_is_under_way(context):
    """terminate() throws away what is in a queue from which workers still get."""
    for _ in range(3):
        with multiprocessing.pool.Pool(2, context=context) as pool:
            pool.map_async(square, range(10_000), chunksize=1)
            pool.imap(square, range(10_000))


def kill_worker():
    os.kill(os.getpid(), 9)


def test_their_executor_sees_that_a_worker_of_ours_died(context):
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(kill_worker).result()


# ------------------------------------------------------------------------------------- managers


def append(proxy, lock, number):
    with lock:
        proxy.append(number)


def test_their_manager_with_our_context(context):
    with multiprocessing.managers.SyncManager(ctx=context) as manager:
        check_manager(manager, context)


def test_our_manager_with_their_processes():
    with ramet.Manager() as manager:
        check_manager(manager, multiprocessing.get_context("fork"))


def check_manager(manager, context):
    numbers, lock = manager.list(), manager.Lock()
    processes = [context.Process(target=append, args=(numbers, lock, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(numbers) == [0, 1, 2]


def test_proxies_cross_both_ways(context):
    """A proxy of one's manager in the other's, and through queues and pools of ours."""
    with ramet.Manager() as ours, multiprocessing.Manager() as theirs:
        for outer, inner in ((ours, theirs), (theirs, ours)):
            outer_list, inner_dict = outer.list(), inner.dict()
            outer_list.append(inner_dict)
            outer_list[0]["key"] = "value"
            assert inner_dict.copy() == {"key": "value"}
        messages = context.Queue()
        proxies = ours.list([1]), theirs.list([2])  # which somebody has to hold on to
        messages.put(proxies)
        assert [list(proxy) for proxy in messages.get()] == [[1], [2]]
        with context.Pool(1) as pool:
            assert pool.map(list, proxies) == [[1], [2]]


# ------------------------------------------------------------- the wire, and names in /dev/shm


def echo(module, address):
    with module.Client(address, authkey=b"the key") as client:
        client.send({"from": "the client"})
        client.send_bytes(client.recv_bytes()[::-1])
        client.send(client.recv())


@pytest.mark.parametrize(
    ("listens", "calls"),
    [(ramet, multiprocessing), (multiprocessing, ramet)],
    ids=["ours listens", "theirs listens"],
)
@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET"])
def test_one_wire_and_one_authentication(listens, calls, family):
    address = None if family == "AF_UNIX" else ("127.0.0.1", 0)
    with listens.connection.Listener(address, family, authkey=b"the key") as listener:
        pid = os.fork()
        if pid == 0:
            try:
                echo(calls.connection, listener.address)
            finally:
                os._exit(0)
        with listener.accept() as connection:
            assert connection.recv() == {"from": "the client"}
            connection.send_bytes(b"abc" * 100_000)
            assert connection.recv_bytes() == b"cba" * 100_000
            connection.send([None, 2.5, "three"])
            assert connection.recv() == [None, 2.5, "three"]
        os.waitpid(pid, 0)


def test_a_wrong_key_is_refused():
    with ramet.connection.Listener(authkey=b"the key") as listener:
        pid = os.fork()
        if pid == 0:
            try:
                multiprocessing.connection.Client(listener.address, authkey=b"another")
            except multiprocessing.AuthenticationError:
                os._exit(7)
            os._exit(1)
        with pytest.raises(ramet.AuthenticationError):
            listener.accept()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.parametrize(
    ("makes", "opens"),
    [(ramet, multiprocessing), (multiprocessing, ramet)],
    ids=["ours makes", "theirs makes"],
)
def test_shared_memory_has_one_name_and_one_layout(makes, opens):
    block = makes.shared_memory.SharedMemory(create=True, size=100)
    try:
        block.buf[:5] = b"hello"
        other = opens.shared_memory.SharedMemory(block.name)
        assert bytes(other.buf[:5]) == b"hello"
        other.close()
    finally:
        block.close()
        block.unlink()
    items = makes.shared_memory.ShareableList([1, 2.5, "three", b"four", None, True])
    try:
        other = opens.shared_memory.ShareableList(name=items.shm.name)
        assert list(other) == [1, 2.5, "three", b"four", None, True]
        other[2] = "3"
        assert items[2] == "3"
        other.shm.close()
    finally:
        items.shm.close()
        items.shm.unlink()


# --------------------------------------------------------------------------------------- pickles


class Guarded:
    """Refuses to be pickled, but for what is registered on ForkingPickler."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        raise TypeError("only by its reducer")


def remake(value):
    return Guarded(value + 1)


def reduce_guarded(guarded):
    return remake, (guarded.value,)


multiprocessing.reduction.ForkingPickler.register(Guarded, reduce_guarded)


def value_of(guarded):
    return guarded.value


def pass_value(guarded, answers):
    answers.put(guarded.value)


def test_a_reducer_of_forking_pickler_works_on_every_channel(context):
    assert ramet.reducer.ForkingPickler is multiprocessing.reduction.ForkingPickler
    for channel in (context.Queue(), context.JoinableQueue(), context.SimpleQueue()):
        channel.put(Guarded(1))
        assert channel.get().value == 2
        channel.put({"nested": [Guarded(1)] * 2})
        first, second = channel.get()["nested"]
        assert first is second and first.value == 2
    ours, theirs = context.Pipe()
    ours.send(Guarded(1))
    assert theirs.recv().value == 2
    with context.Pool(1) as pool:
        assert pool.apply(value_of, (Guarded(1),)) == 2
        assert pool.map(value_of, [Guarded(1), Guarded(2)]) == [2, 3]
        assert list(pool.imap(value_of, iter([Guarded(1)]))) == [2]
        assert pool.apply(remake, (1,)).value == 3  # made by the worker, and sent here
    process = context.Process(target=pass_value, args=(Guarded(1), answers := context.Queue()))
    process.start()
    assert answers.get() == (1 if context.get_start_method() == "fork" else 2)
    process.join()


class ByCopyreg:
    def __init__(self, value):
        self.value = value


copyreg.pickle(ByCopyreg, lambda thing: (remake, (thing.value,)))


def test_a_reducer_of_copyreg_works(context):
    channel = context.Queue()
    channel.put([ByCopyreg(1)])
    assert channel.get()[0].value == 2


# ------------------------------------------------------------------------------------------ logs


def log_to(records, level):
    logger = logging.getLogger("of a child")
    logger.setLevel(level)
    logger.addHandler(logging.handlers.QueueHandler(records))
    logger.warning("from %s", "a child")


def test_records_through_our_queue(context):
    records, stream = context.Queue(), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(processName)s %(process)d: %(message)s"))
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    process = context.Process(target=log_to, args=(records, logging.INFO), name="the writer")
    process.start()
    pid = process.pid
    process.join()
    listener.stop()
    assert stream.getvalue() == f"the writer {pid}: from a child\n"


def process_name(_):
    record = logging.makeLogRecord({})
    return logging.LogRecord("n", 10, "p", 1, "m", (), None).processName, record.process


def test_workers_have_names_in_records(context):
    with context.Pool(1) as pool:
        name, _ = pool.apply(process_name, (None,))
    assert "PoolWorker-" in name


def test_the_logger_is_one():
    assert ramet.get_logger() is multiprocessing.get_logger()
