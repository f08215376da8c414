# SPDX-License-Identifier: MIT
"""Locks, semaphores, conditions, events and barriers: as the standard library's, and beyond it:
sent through queues, owned by processes that are killed and stopped, interrupted by signals."""

import multiprocessing.synchronize as std
import os
import pickle
import signal
import threading
import time
import warnings

import pytest
import ramet
from ramet import OwnerDiedWarning, synchronize

NOUNS = {
    "Lock": lambda ctx: ctx.Lock(),
    "RLock": lambda ctx: ctx.RLock(),
    "Semaphore": lambda ctx: ctx.Semaphore(2),
    "BoundedSemaphore": lambda ctx: ctx.BoundedSemaphore(3),
    "Condition": lambda ctx: ctx.Condition(),
    "Event": lambda ctx: ctx.Event(),
    "Barrier": lambda ctx: ctx.Barrier(2),
}


@pytest.fixture
def ctx(method):
    return ramet.get_context(method)


@pytest.fixture
def fork():
    return ramet.get_context("fork")


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def until(condition):
    while not condition():
        time.sleep(0.002)


# --------------------------------------------------------------------------- kinds and handles


@pytest.mark.parametrize("noun", NOUNS)
def test_is_the_standard_librarys(noun):
    assert isinstance(NOUNS[noun](ramet), getattr(std, noun))


@pytest.mark.parametrize("noun", NOUNS)
def test_a_copy_is_a_handle_of_the_same(noun):
    original = NOUNS[noun](ramet)
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is type(original)
    if noun == "Event":
        original.set()
        assert copy.is_set()
    elif noun == "Barrier":
        copy.abort()
        assert original.broken
    else:
        assert copy.acquire(timeout=0)
        if noun == "Lock":
            assert not original.acquire(False)
        copy.release()


def test_a_reference_to_what_is_gone():
    data = pickle.dumps(ramet.Lock())
    with pytest.raises(OSError, match="gone"):
        pickle.loads(data)


def send_back(queue, answers):
    for noun in queue.get():
        if isinstance(noun, std.Event):
            noun.set()
        elif isinstance(noun, std.Barrier):
            noun.wait()
        else:
            noun.acquire()
            noun.release()
        answers.put(noun)


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_travel_through_queues(start):
    ctx = ramet.get_context(start)
    nouns = [make(ctx) for make in NOUNS.values()]
    queue, answers = ctx.Queue(), ctx.Queue()
    process = ctx.Process(target=send_back, args=(queue, answers))
    process.start()
    queue.put(nouns)  # while it runs: not by inheritance
    for noun in nouns:
        if isinstance(noun, std.Barrier):
            noun.wait()
        copy = answers.get()
        assert type(copy) is type(noun)
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ramet.Lock(), "<Lock(owner=None)>"),
        (lambda: ramet.RLock(), "<RLock(None, 0)>"),
        (lambda: ramet.Semaphore(3), "<Semaphore(value=3)>"),
        (lambda: ramet.BoundedSemaphore(2), "<BoundedSemaphore(value=2, maxvalue=2)>"),
        (lambda: ramet.Condition(), "<Condition(<RLock(None, 0)>, 0)>"),
        (lambda: ramet.Condition(ramet.Lock()), "<Condition(<Lock(owner=None)>, 0)>"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == text


def test_repr_says_who_holds_it():
    lock, rlock = ramet.Lock(), ramet.RLock()
    with lock, rlock, rlock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"
        assert repr(rlock) == "<RLock(MainProcess, 2)>"
        said = []
        thread = threading.Thread(target=lambda: said.extend([repr(lock), repr(rlock)]))
        thread.start()
        thread.join()
    assert said == ["<Lock(owner=SomeOtherThread)>", "<RLock(SomeOtherThread, nonzero)>"]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ramet.Semaphore(-1), OSError),
        (lambda: ramet.Semaphore("two"), TypeError),
        (lambda: ramet.Semaphore(2**31), OverflowError),
        (lambda: ramet.Condition(threading.Lock()), TypeError),
        (lambda: ramet.Condition(3), AttributeError),
        (lambda: ramet.Barrier(0), ValueError),
        (lambda: ramet.Lock().acquire(timeout="soon"), TypeError),
        (lambda: ramet.Lock().acquire(timeout=float("nan")), ValueError),
        (lambda: ramet.Lock().acquire(True, 1, 2), TypeError),
        (lambda: ramet.Lock().acquire(blocking=False), TypeError),
        (lambda: ramet.Event().wait(1, 2), TypeError),
        (lambda: ramet.Lock().release(), ValueError),
        (lambda: ramet.RLock().release(), AssertionError),
        (lambda: ramet.BoundedSemaphore(1).release(), ValueError),
        (lambda: ramet.Condition().wait(), AssertionError),
        (lambda: ramet.Condition().notify(), AssertionError),
        (lambda: synchronize.Lock._from_ref(b"short"), ValueError),
    ],
)
def test_wrong_use(make, error):
    with pytest.raises(error):
        make()


# ------------------------------------------------------------------------------------- counting


def add_under(lock, value, times):
    for _ in range(times):
        with lock:
            value.value += 1


@pytest.mark.parametrize("noun", ["Lock", "RLock", "Semaphore", "Condition"])
def test_excludes(ctx, noun):
    lock = ctx.Semaphore(1) if noun == "Semaphore" else NOUNS[noun](ctx)
    value = ctx.RawValue("i", 0)
    processes = [ctx.Process(target=add_under, args=(lock, value, 2000)) for _ in range(3)]
    for process in processes:
        process.start()
    add_under(lock, value, 2000)
    for process in processes:
        process.join()
    assert value.value == 8000


def hold(lock, held, go):
    lock.__enter__()
    held.set()
    go.wait()


# ------------------------------------------------------------------------------ dead and stopped


def holder(ctx, lock):
    held, go = ctx.Event(), ctx.Event()
    process = ctx.Process(target=hold, args=(lock, held, go), daemon=True)
    process.start()
    held.wait()
    return process, go


@pytest.mark.parametrize("noun", ["Lock", "RLock", "Condition"])
def test_a_killed_owner_is_told_once(ctx, noun):
    lock = NOUNS[noun](ctx)
    process, _ = holder(ctx, lock)
    assert not lock.acquire(False)
    kill(process)
    with pytest.warns(OwnerDiedWarning, match="died"):
        assert lock.acquire()
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with lock:
            pass


def test_a_killed_owner_nobody_waits_for(fork):
    """No join, no reaping: whoever wants the lock finds out by himself."""
    lock = fork.Lock()
    process, _ = holder(fork, lock)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.warns(OwnerDiedWarning), lock:
        pass
    process.join()


@pytest.mark.parametrize("noun", ["Lock", "RLock"])
def test_the_warning_as_an_error_takes_nothing(fork, noun):
    lock = NOUNS[noun](fork)
    process, _ = holder(fork, lock)
    kill(process)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error", OwnerDiedWarning)
            with pytest.raises(OwnerDiedWarning):
                lock.acquire()
        assert not lock.locked()
    with pytest.warns(OwnerDiedWarning):
        assert lock.acquire(False)
    lock.release()


def test_a_stopped_owner_keeps_it(fork):
    lock = fork.Lock()
    process, go = holder(fork, lock)
    os.kill(process.pid, signal.SIGSTOP)
    assert not lock.acquire(timeout=0.5)
    os.kill(process.pid, signal.SIGCONT)
    go.set()
    process.join()
    with pytest.warns(OwnerDiedWarning), lock:  # it exited with it
        pass


def test_a_permit_comes_back(ctx):
    semaphore = ctx.BoundedSemaphore(1)
    process, _ = holder(ctx, semaphore)
    assert not semaphore.acquire(False)
    os.kill(process.pid, signal.SIGKILL)
    assert semaphore.acquire()  # finds out by itself
    semaphore.release()
    process.join()


def take_plain(semaphore, held):
    semaphore.acquire()
    held.set()
    signal.pause()


def test_a_signal_does_not(fork):
    semaphore, held = fork.Semaphore(1), fork.Event()
    process = fork.Process(target=take_plain, args=(semaphore, held))
    process.start()
    held.wait()
    kill(process)
    assert not semaphore.acquire(timeout=0.1)
    semaphore.release()
    assert semaphore.get_value() == 1


def test_more_semaphores_at_once_than_can_be_owned():
    from contextlib import ExitStack

    semaphores = [ramet.Semaphore(1) for _ in range(40)]
    with ExitStack() as stack:
        for semaphore in semaphores:
            stack.enter_context(semaphore)
        assert not any(semaphore.get_value() for semaphore in semaphores)
    assert all(semaphore.get_value() == 1 for semaphore in semaphores)


def wait_at(barrier, broken):
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        broken.release()


def test_a_death_breaks_the_barrier(ctx):
    barrier, broken = ctx.Barrier(4), ctx.Semaphore(0)
    processes = [ctx.Process(target=wait_at, args=(barrier, broken)) for _ in range(3)]
    for process in processes:
        process.start()
    until(lambda: barrier.n_waiting == 3)
    os.kill(processes[1].pid, signal.SIGKILL)
    for process in processes[::2]:
        process.join()
        assert process.exitcode == 0
    assert barrier.broken
    assert broken.get_value() == 2
    processes[1].join()
    barrier.reset()
    assert not barrier.broken


def wait_for_notification(condition, woken):
    with condition:
        condition.wait()
        woken.release()


def test_a_dead_waiters_notification_goes_on(fork):
    condition, woken = fork.Condition(), fork.Semaphore(0)
    first = fork.Process(target=wait_for_notification, args=(condition, woken))
    first.start()
    until(lambda: condition._waiters() == 1)
    second = fork.Process(target=wait_for_notification, args=(condition, woken))
    second.start()
    until(lambda: condition._waiters() == 2)
    with condition:
        condition.notify()
        kill(first)  # it cannot have had the lock
    second.join()
    assert woken.get_value() == 1


# --------------------------------------------------------------------------------------- signals


class Handled(Exception):
    pass


@pytest.fixture
def on_alarm():
    """Set what SIGALRM does; it comes every few milliseconds until the test is over."""

    def install(handler):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)

    before = signal.getsignal(signal.SIGALRM)
    yield install
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def raise_handled(*_):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # also the one that has come meanwhile
    raise Handled


def blocked(noun, fork):
    """A call that would block for ever."""
    if noun == "Semaphore":
        return fork.Semaphore(0).acquire
    if noun == "Event":
        return fork.Event().wait
    if noun == "Barrier":
        return fork.Barrier(2).wait
    lock = fork.Lock()
    lock.acquire()
    return lock.acquire


@pytest.mark.parametrize("noun", ["Lock", "Semaphore", "Event", "Barrier"])
def test_a_handler_may_raise(fork, on_alarm, noun):
    call = blocked(noun, fork)
    with pytest.raises(Handled):
        on_alarm(raise_handled)
        call()


@pytest.mark.parametrize("noun", ["Lock", "Semaphore", "Event"])
def test_a_handler_does_not_prolong_the_wait(fork, on_alarm, noun):
    calls = []
    call = blocked(noun, fork)
    on_alarm(lambda *_: calls.append(1))
    start = time.monotonic()
    assert call(timeout=0.3) is False
    assert time.monotonic() - start >= 0.3
    assert calls


@pytest.mark.parametrize("recursion", [1, 3])
def test_a_condition_is_left_with_the_lock(fork, on_alarm, recursion):
    condition = fork.Condition()
    for _ in range(recursion):
        condition.acquire()
    with pytest.raises(Handled):
        on_alarm(raise_handled)
        condition.wait()
    assert condition._waiters() == 0
    for _ in range(recursion):
        condition.release()
    with pytest.raises(AssertionError):
        condition.release()


def notify_when(condition, event):
    event.wait()
    with condition:
        condition.notify()


def test_no_notification_is_missed_in_a_handler(fork, on_alarm):
    """The notification comes while the handler runs; the wait must know of it."""
    condition, event = fork.Condition(), fork.Event()
    process = fork.Process(target=notify_when, args=(condition, event))
    process.start()

    def handler(*_):
        if condition._waiters() == 0:
            return  # the wait has not begun: the next alarm will do
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        event.set()
        process.join()

    on_alarm(handler)
    with condition:
        assert condition.wait()
    assert process.exitcode == 0


def test_a_notification_that_is_of_no_use_goes_on(fork, on_alarm):
    """The handler raises after the notification came: the other waiter gets it."""
    condition, event, woken = fork.Condition(), fork.Event(), fork.Semaphore(0)
    notifier = fork.Process(target=notify_when, args=(condition, event))
    other = fork.Process(target=wait_for_notification, args=(condition, woken))
    notifier.start()

    def handler(*_):
        if condition._waiters() == 0:
            return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        other.start()
        until(lambda: condition._waiters() == 2)  # this one first
        event.set()
        notifier.join()
        raise Handled

    on_alarm(handler)
    with condition, pytest.raises(Handled):
        condition.wait()
    other.join()
    assert other.exitcode == 0


def test_a_handler_may_not_wait_for_a_condition_in_a_wait(fork, on_alarm):
    condition, other = fork.Condition(), fork.Condition()

    def handler(*_):
        if condition._waiters() == 0:
            return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        with other:
            other.wait()

    on_alarm(handler)
    with condition, pytest.raises(RuntimeError, match="signal handler"):
        condition.wait()


def test_an_event_pulsed_in_a_handler(fork, on_alarm):
    event = fork.Event()

    def handler(*_):  # at every alarm: the first may come before the wait begins
        event.set()
        event.clear()

    on_alarm(handler)
    assert event.wait()


# -------------------------------------------------------------------------------- single nouns


def pass_event(event, passed):
    event.wait()
    passed.release()


def test_a_pulse_releases_who_waits(ctx):
    event, passed = ctx.Event(), ctx.Semaphore(0)
    processes = [ctx.Process(target=pass_event, args=(event, passed)) for _ in range(3)]
    for process in processes:
        process.start()
    # Nothing public says that they sleep. Pulses go on until all have passed.
    while passed.get_value() < 3:
        time.sleep(0.02)
        event.set()
        event.clear()
    for process in processes:
        process.join()


def pass_barrier(barrier, queue):
    for _ in range(20):
        queue.put(barrier.wait())


def count_action():
    ACTIONS.value += 1


ACTIONS = None


def test_an_action_runs_once_a_round(fork):
    global ACTIONS
    ACTIONS = fork.RawValue("i", 0)
    barrier, queue = fork.Barrier(3, count_action), fork.Queue()
    processes = [fork.Process(target=pass_barrier, args=(barrier, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    numbers = sorted(queue.get() for _ in range(60))
    for process in processes:
        process.join()
    assert numbers == [0] * 20 + [1] * 20 + [2] * 20
    assert ACTIONS.value == 20


def test_an_action_that_raises_breaks_the_barrier():
    def fail():
        raise ZeroDivisionError

    barrier = ramet.Barrier(1, fail)
    with pytest.raises(ZeroDivisionError):
        barrier.wait()
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_a_barriers_default_time_out():
    barrier = ramet.Barrier(2, timeout=0.05)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken
    assert barrier.parties == 2


def test_locked():
    lock, rlock, semaphore = ramet.Lock(), ramet.RLock(), ramet.Semaphore(1)
    for noun in (lock, rlock, semaphore):
        assert not noun.locked()
        with noun:
            assert noun.locked()
        assert not noun.locked()


def test_the_standard_librarys_condition_takes_our_lock(fork):
    import multiprocessing

    lock = fork.RLock()
    condition = multiprocessing.get_context("fork").Condition(lock)
    with condition:
        assert not condition.wait(0.01)
        assert lock._semlock._is_mine() and lock._semlock._count() == 1
