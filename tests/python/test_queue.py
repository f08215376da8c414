# SPDX-License-Identifier: MIT
"""Queue, JoinableQueue and SimpleQueue: what the standard library promises, and what ramet adds."""

import array
import gc
import mmap
import multiprocessing.queues
import os
import pickle
import queue
import signal
import threading
import time
import weakref

import pytest
import ramet as mp
from ramet import _ramet
from ramet.queues import Empty, Full, JoinableQueue, Queue, ShutDown, SimpleQueue

MIB = 1 << 20


@pytest.fixture
def context(method):
    return mp.get_context(method)


def blocks():
    """How many blocks are in use, but for those of processes that earlier tests have left dead."""
    gc.collect()
    _ramet.sweep()
    return _ramet.arena_usage()["blocks"]


def unlike(a, b):
    return a != b or type(a) is not type(b)


# ---- one process


OBJECTS = [
    None,
    True,
    0,
    -(10**30),
    1.5,
    "",
    "short",
    "long" * 1000,
    b"x" * 57,
    b"y" * MIB,
    (1, (2, [3, {"four": 5}])),
    list(range(100)),
    {1, 2},
    print,
    ValueError("text"),
]


@pytest.mark.parametrize("kind", [Queue, JoinableQueue, SimpleQueue])
def test_what_is_put_is_got_in_order(kind):
    q = kind()
    for obj in OBJECTS:
        q.put(obj)
    for obj in OBJECTS:
        got = q.get()
        if isinstance(obj, ValueError):
            assert type(got) is ValueError and got.args == obj.args
        else:
            assert not unlike(got, obj)
    assert q.empty()


def test_classes_are_those_of_the_standard_library():
    assert issubclass(Queue, multiprocessing.queues.Queue)
    assert issubclass(JoinableQueue, multiprocessing.queues.JoinableQueue)
    assert issubclass(JoinableQueue, Queue)
    assert issubclass(SimpleQueue, multiprocessing.queues.SimpleQueue)
    assert Empty is queue.Empty and Full is queue.Full
    assert ShutDown is getattr(queue, "ShutDown", ShutDown)
    assert isinstance(mp.Queue(3), Queue)
    assert isinstance(mp.JoinableQueue(), JoinableQueue)
    assert isinstance(mp.SimpleQueue(), SimpleQueue)


def test_sizes_are_exact():
    q = Queue(3)
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)
    for i in range(3):
        q.put(i)
        assert q.qsize() == i + 1
    assert (q.empty(), q.full()) == (False, True)
    with pytest.raises(Full):
        q.put_nowait(4)
    with pytest.raises(Full):
        q.put(4, False)
    with pytest.raises(Full):
        q.put(obj=4, block=True, timeout=0.01)
    with pytest.raises(Full):
        q.put(4, timeout=-1)
    assert [q.get() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Empty):
        q.get_nowait()
    with pytest.raises(Empty):
        q.get(False)
    start = time.monotonic()
    with pytest.raises(Empty):
        q.get(block=True, timeout=0.05)
    assert time.monotonic() - start >= 0.05
    unbounded = Queue()
    unbounded.put(1)
    assert not unbounded.full()


def test_wrong_arguments():
    q = Queue()
    for call in (
        lambda: q.put(),
        lambda: q.put(1, True, None, 4),
        lambda: q.put(1, obj=2),
        lambda: q.put(1, flavour=2),
        lambda: q.put(1, timeout="soon"),
        lambda: q.get(timeout="soon"),
        lambda: Queue("many"),
        lambda: q.get_many("all"),
        lambda: q.put_many(3),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError):
        q.get(timeout=float("nan"))
    with pytest.raises(ValueError):
        q.get_many(0)
    with pytest.raises(ValueError, match="not initialised"):
        Queue.__new__(Queue).put(1)
    with pytest.raises(ValueError, match="already"):
        q.__init__()
    assert q.empty()


class Unpicklable:
    def __reduce__(self):
        raise AttributeError("cannot be sent")


def refuse():
    raise LookupError("cannot be received")


class Unreceivable:
    def __reduce__(self):
        return (refuse, ())


def test_what_cannot_be_pickled_raises_in_put():
    q = Queue(1)
    before = blocks()
    with pytest.raises(AttributeError, match="cannot be sent"):
        q.put(Unpicklable())
    with pytest.raises(AttributeError, match="cannot be sent"):
        q.put([b"x" * MIB, Unpicklable()])
    with pytest.raises(Exception, match="lambda"):
        q.put(lambda: None)
    assert q.qsize() == 0
    q.put(True)
    assert q.get() is True
    assert blocks() == before


def test_what_cannot_be_unpickled_raises_in_get_and_is_gone():
    q = Queue()
    before = blocks()
    q.put(Unreceivable())
    q.put(1)
    with pytest.raises(LookupError, match="cannot be received"):
        q.get()
    assert q.get() == 1
    assert q.lost == 0
    assert blocks() == before


def test_put_takes_the_object_as_it_is_then():
    q = Queue()
    things = [1]
    q.put(things)
    things.append(2)
    assert q.get() == [1]


def test_closed():
    for q in Queue(), JoinableQueue():
        q.close()
        q.join_thread()
        q.cancel_join_thread()
        assert q.empty()
        with pytest.raises(ValueError, match="is closed"):
            q.put(1)
        with pytest.raises(ValueError, match="is closed"):
            q.get()
    q = Queue()
    with pytest.raises(AssertionError):
        q.join_thread()
    q.put(1)
    q.close()
    with pytest.raises(OSError, match="is closed"):
        q.empty()
    s = SimpleQueue()
    s.close()
    s.close()
    for call in s.empty, s.get, lambda: s.put(1):
        with pytest.raises(OSError, match="is closed"):
            call()


def test_many():
    q = Queue()
    items = [i if i % 7 else "x" * i * 10 for i in range(200)]
    q.put_many(iter(items))
    assert q.qsize() == 200
    assert q.get_many(3) == items[:3]
    assert q.get_many(max_items=50) == items[3:53]
    assert q.get_many() == items[53:]
    with pytest.raises(Empty):
        q.get_many(block=False)
    q.put_many([])
    assert q.empty()

    small = Queue(10)
    with pytest.raises(Full):
        small.put_many(range(20), timeout=0.01)
    assert small.get_many() == list(range(10))


def test_many_with_a_bad_one_among_them():
    q = Queue()
    before = blocks()
    with pytest.raises(AttributeError, match="cannot be sent"):
        q.put_many([1, 2, Unpicklable(), 3])
    assert q.get_many() == [1, 2]
    q.put_many([1, Unreceivable(), "x" * 100, Unreceivable(), 2])
    with pytest.raises(LookupError, match="cannot be received") as caught:
        q.get_many()
    assert caught.value.received == [1, "x" * 100, 2]
    assert q.empty()
    assert blocks() == before


def test_shutdown_and_iteration():
    q = Queue()
    q.put_many(range(5))
    q.shutdown()
    with pytest.raises(ShutDown):
        q.put(1)
    assert list(q) == [0, 1, 2, 3, 4]
    with pytest.raises(ShutDown):
        q.get()
    del q

    before = blocks()
    q = JoinableQueue()
    q.put_many(["x" * 100] * 50)
    q.get()
    q.task_done()
    q.shutdown(immediate=True)
    assert q.qsize() == 0
    with pytest.raises(ShutDown):
        q.get()
    q.join()
    del q
    assert blocks() == before


def test_shutdown_wakes_who_waits():
    q = Queue()
    seen = []

    def consume():
        seen.append(list(q))

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    q.put(1)
    q.shutdown()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [[], [], [1]]


def test_task_done_too_often():
    q = JoinableQueue()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()
    q.put(1)
    q.task_done()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()
    q.join()


def test_queue_in_a_queue_is_kept_by_it():
    before = blocks()
    outer, inner = Queue(), JoinableQueue(7)
    inner.put("inside")
    outer.put({"queue": inner, "more": ["x" * 100]})
    del inner
    gc.collect()
    inner = outer.get()["queue"]
    assert type(inner) is JoinableQueue
    assert inner.get() == "inside"
    inner.task_done()
    inner.join()
    del inner, outer
    assert blocks() == before


def test_a_reference_that_nobody_kept_is_an_error():
    q = Queue()
    saved = pickle.dumps(q)
    assert pickle.loads(saved).empty()
    del q
    gc.collect()
    with pytest.raises(OSError, match="gone"):
        pickle.loads(saved)


class Tagged(Queue):
    """A user's subclass that follows the standard library's convention."""

    def __init__(self, tag, *args, **kwargs):
        super().__init__(*args, **kwargs, ctx=mp.get_context())
        self.tag = tag

    def __getstate__(self):
        return super().__getstate__(), self.tag

    def __setstate__(self, state):
        inherited, self.tag = state
        super().__setstate__(inherited)


def test_subclass_with_attributes():
    tagged = Tagged("name", 2)
    q = Queue()
    q.put(tagged)
    got = q.get()
    assert type(got) is Tagged and got.tag == "name" and got._maxsize == 2
    got.put(1)
    assert tagged.get() == 1
    assert weakref.ref(got)() is got


class Quiet(Queue):
    """A user's subclass that takes part in the standard library's feeder thread."""

    errors = ()

    @staticmethod
    def _on_queue_feeder_error(error, obj):
        Quiet.errors += (type(error),)


class QuietWithArguments(Quiet):
    def __init__(self, tag):
        super().__init__(2, ctx=mp.get_context())
        self.tag = tag


@pytest.mark.parametrize("make", [Quiet, lambda: QuietWithArguments("tag")])
def test_subclass_with_a_hook_of_the_feeder_thread(make):
    Quiet.errors = ()
    q = make()
    q.put(Unpicklable())  # does not raise: the thread does
    q.put("after it")
    assert q.get() == "after it"
    assert Quiet.errors == (AttributeError,)
    q.close()
    q.join_thread()


# ---- large buffers


def test_large_buffer_arrives_as_a_writable_view():
    before = blocks()
    q = Queue()
    data = bytearray(os.urandom(3 * MIB + 5))
    q.put([pickle.PickleBuffer(data), pickle.PickleBuffer(data)])
    one, two = q.get()
    view, other = memoryview(one), memoryview(two)
    assert view == data and not view.readonly
    view[0] ^= 255
    view[-1] ^= 255
    assert view[1:-1] == data[1:-1] and view[0] != data[0]
    assert other == data  # each has its own
    del q, one, view
    gc.collect()
    assert other == data  # and keeps what it sees
    del other, two
    assert blocks() == before


def test_readonly_large_buffer():
    q = Queue()
    q.put(pickle.PickleBuffer(b"x" * 2 * MIB))
    got = q.get()
    assert memoryview(got).readonly
    assert bytes(got) == b"x" * 2 * MIB


def test_view_over_fork():
    before = blocks()
    q = Queue()
    data = array.array("q", range(MIB // 4))
    q.put(pickle.PickleBuffer(data))
    view = memoryview(q.get()).cast("B")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            view[0] = 77  # in this process alone
            q.put((view[0], bytes(view[8:])))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    _ramet.reap(pid)
    first, rest = q.get()
    assert first == 77 and view[0] == 0 and rest == bytes(view[8:])
    del view, q
    assert blocks() == before


def test_numpy_array():
    numpy = pytest.importorskip("numpy")
    q = Queue()
    for shape in (3, 5), (512, 1024), (0,):
        sent = numpy.random.default_rng(1).random(shape)
        q.put({"array": sent})
        got = q.get()["array"]
        assert (got == sent).all() and got.dtype == sent.dtype and got.shape == sent.shape
        assert got.flags.writeable
        if got.size:
            got[0] = -1
            assert not (got == sent).all()


# ---- processes


def fill(q, name, count):
    for i in range(count):
        q.put((name, i))


def pass_on(q, results):
    count = 0
    for _ in iter(q.get, None):
        count += 1
    results.put(count)


def test_producers_and_consumers(context):
    q, results = context.Queue(5), context.SimpleQueue()
    producers = [context.Process(target=fill, args=(q, i, 200)) for i in range(3)]
    consumers = [context.Process(target=pass_on, args=(q, results)) for _ in range(2)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join()
        assert process.exitcode == 0
    for _ in consumers:
        q.put(None)
    assert sum(results.get() for _ in consumers) == 600
    for process in consumers:
        process.join()
        assert process.exitcode == 0
    assert q.empty() and results.empty()


def answer(tasks, answers):
    for task in iter(tasks.get, None):
        answers.put(task * task)
        tasks.task_done()
    tasks.task_done()


def test_joinable(context):
    tasks, answers = context.JoinableQueue(), context.Queue()
    workers = [context.Process(target=answer, args=(tasks, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for i in range(50):
        tasks.put(i)
    tasks.join()
    assert sorted(answers.get_many()) == [i * i for i in range(50)]
    for _ in workers:
        tasks.put(None)
    tasks.join()
    for worker in workers:
        worker.join()


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


class Poison:
    def __reduce__(self):
        return (kill_self, ())


def consume_until_none(q, results):
    for item in iter(q.get, None):
        results.put(item)


def test_an_item_that_kills_its_consumer_is_lost_alone(context):
    q, results = context.Queue(), context.Queue()
    q.put_many([1, Poison(), 2, None])
    first = context.Process(target=consume_until_none, args=(q, results))
    first.start()
    first.join()
    assert first.exitcode == -signal.SIGKILL
    second = context.Process(target=consume_until_none, args=(q, results))
    second.start()
    second.join()
    assert second.exitcode == 0
    assert results.get_many() == [1, 2]
    assert q.lost == 1


def hold_on(q, ready):
    ready.put(True)
    q.get()


def test_a_killed_waiter_takes_nothing_with_it(context):
    q, ready = context.Queue(), context.Queue()
    process = context.Process(target=hold_on, args=(q, ready))
    process.start()
    ready.get()
    process.kill()
    process.join()
    q.put("still there")
    assert q.get() == "still there"


def test_interrupt_of_a_waiting_get():
    class Alarm(Exception):
        pass

    def handler(signum, frame):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one is enough, wherever it comes
        raise Alarm

    q = Queue()
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        # Repeated, since one that comes before the sleep begins does not end it.
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(Alarm):
            q.get()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    q.put(1)
    assert q.get() == 1


def test_handled_signal_does_not_end_a_get():
    seen = []
    q = Queue()
    previous = signal.signal(signal.SIGALRM, lambda *args: seen.append(args) or None)
    timer = threading.Timer(0.3, q.put, ["late"])
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        timer.start()
        assert q.get() == "late"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        timer.join()
    assert seen


def test_threads_share_an_object():
    q = Queue(4)
    got = []
    lock = threading.Lock()

    def consume():
        for item in iter(q.get, None):
            with lock:
                got.append(item)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    producers = [threading.Thread(target=fill, args=(q, name, 300)) for name in ("a", "b", "c")]
    for thread in consumers + producers:
        thread.start()
    for thread in producers:
        thread.join()
    for _ in consumers:
        q.put(None)
    for thread in consumers:
        thread.join()
    assert sorted(got) == sorted((name, i) for name in "abc" for i in range(300))


def test_growth():
    before = blocks()
    q = Queue()
    for i in range(50000):
        q.put(i)
    assert q.qsize() == 50000
    assert all(q.get() == i for i in range(50000))
    del q
    assert blocks() == before


def test_no_page_of_a_view_is_shared_for_writing():
    """Writing to what was received changes nobody's else, whole pages included."""
    q = Queue()
    size = 4 * MIB
    q.put(pickle.PickleBuffer(bytearray(size)))
    view = memoryview(q.get())
    for at in range(0, size, mmap.PAGESIZE):
        view[at] = 1
    q.put(pickle.PickleBuffer(bytearray(size)))
    assert bytes(q.get()) == bytes(size)
