# SPDX-License-Identifier: MIT
"""The standard library's machinery around processes, and other libraries' hold on its insides.

One registry of processes for both packages; the hooks that its own objects use when they are passed
to a new process; what runs after a fork and at an exit; and the private names that joblib, loky,
PyTorch, mpire and pebble read.
"""

import gc
import logging
import multiprocessing
import multiprocessing.context
import multiprocessing.process
import os
import select
import signal
import time
from multiprocessing import reduction, util

import pytest
import ramet as mp
from family import run

STD = multiprocessing.get_context("spawn")  # whose locks have a name: they can go to any child


# ------------------------------------------------------------------------------- one registry


def tell_registry(connection):
    process = multiprocessing.process
    me = process._current_process
    connection.send(
        {
            "same": me is mp.current_process() is multiprocessing.current_process(),
            "parent": process._parent_process.pid,
            "parent's name": mp.parent_process().name,
            "children": len(process._children),
            "config": (me._config["authkey"] == b"a key", me._config.get("daemon")),
            "identity": me._identity,
            "parent_pid": me._parent_pid,
            "name": me.name,
        }
    )


@pytest.mark.parametrize("daemon", [False, True])
def test_a_child_stands_in_the_standard_librarys_registry(method, daemon):
    ctx = mp.get_context(method)
    me = multiprocessing.current_process()
    before = me._config["authkey"]
    receiver, sender = ctx.Pipe(duplex=False)
    try:
        me.authkey = b"a key"
        child = ctx.Process(target=tell_registry, args=(sender,), name="the child", daemon=daemon)
        child.start()
        assert child in multiprocessing.process._children
        told = receiver.recv()
        child.join()
    finally:
        me.authkey = before
    assert child not in multiprocessing.process._children
    assert told == {
        "same": True,
        "parent": os.getpid(),
        "parent_pid": os.getpid(),  # also where the fork server made it
        "parent's name": me.name,
        "children": 0,
        "config": (True, daemon),
        "identity": child._identity,
        "name": "the child",
    }


def test_children_of_both_packages_are_numbered_and_listed_together():
    ours, theirs = mp.get_context("fork").Process(), multiprocessing.get_context("fork").Process()
    assert theirs._identity[-1] == ours._identity[-1] + 1
    ours.start()
    theirs.start()
    ours.join()
    theirs.join()
    assert {ours, theirs}.isdisjoint(multiprocessing.active_children())
    assert mp.active_children() == multiprocessing.active_children()


def log_names(connection):
    record = logging.LogRecord("name", logging.INFO, "path", 1, "text", (), None)
    connection.send((record.processName, multiprocessing.process._current_process.name))


def test_log_records_have_the_name_of_the_process(method):
    ctx = mp.get_context(method)
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=log_names, args=(sender,), name="a name")
    child.start()
    assert receiver.recv() == ("a name", "a name")
    child.join()


# ---------------------------------------------------------------- passed to a new process


def use_theirs(queue, simple, lock, event, value, connection, descriptor):
    fd = descriptor.detach()
    os.write(fd, b"by its descriptor")
    os.close(fd)
    with lock:
        value.value += 1
    simple.put(os.getpid())
    queue.put(os.getpid())
    connection.send(os.getpid())
    event.set()
    queue.close()
    queue.join_thread()


class Carrier:
    """Brings a descriptor into the child by the hook of the standard library, `DupFd`."""

    def __init__(self, fd):
        self.fd = fd

    def __reduce__(self):
        return Arrived, (reduction.DupFd(self.fd),)


class Arrived:
    def __init__(self, descriptor):
        self.detach = descriptor.detach


def test_objects_of_the_standard_library_go_to_our_children(method):
    ctx = mp.get_context(method)
    queue, simple, lock, event = STD.Queue(), STD.SimpleQueue(), STD.Lock(), STD.Event()
    value = STD.Value("i", 5)
    ours, theirs = STD.Pipe()
    read_end, write_end = os.pipe()
    descriptor = Dup(write_end) if method == "fork" else Carrier(write_end)
    child = ctx.Process(
        target=use_theirs, args=(queue, simple, lock, event, value, theirs, descriptor)
    )
    child.start()
    os.close(write_end)
    theirs.close()
    assert event.wait(600)
    assert [queue.get(), simple.get(), ours.recv()] == [child.pid] * 3
    child.join()
    assert (child.exitcode, value.value) == (0, 6)
    assert os.read(read_end, 100) == b"by its descriptor"
    os.close(read_end)


class Dup:
    """What a forked child has anyway."""

    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        return self.fd


class Spy:
    """Tells what it sees while it is pickled for a child."""

    seen = []

    def __reduce__(self):
        popen = multiprocessing.context.get_spawning_popen()
        self.seen.append((popen is mp.context.get_spawning_popen(), hasattr(popen, "DupFd")))
        multiprocessing.context.assert_spawning(self)
        self.seen.append(type(popen.duplicate_for_child(1)))
        return int, (7,)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_hooks_of_spawning_are_set_while_a_child_is_pickled(method):
    Spy.seen.clear()
    child = mp.get_context(method).Process(target=abs, args=(Spy(),))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert Spy.seen == [(True, True), int]
    assert multiprocessing.context.get_spawning_popen() is None
    with pytest.raises(RuntimeError):
        multiprocessing.context.assert_spawning(Spy())


# ----------------------------------------------------------------- after a fork, at an exit


class Marked:
    pass


def tell_mark(connection, marked):
    connection.send(getattr(marked, "pid", None) == os.getpid())


def test_what_is_to_run_after_a_fork_runs_in_our_children():
    ctx = mp.get_context("fork")
    marked = Marked()
    util.register_after_fork(marked, lambda obj: setattr(obj, "pid", os.getpid()))
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=tell_mark, args=(sender, marked))
    child.start()
    assert receiver.recv() is True
    child.join()


def finalize(connection):
    for priority in (-5, 20, 10):
        util.Finalize(None, connection.send, args=(priority,), exitpriority=priority)
    connection.send("running")


def test_exit_functions_run_in_our_children(method):
    ctx = mp.get_context(method)
    receiver, sender = ctx.Pipe(duplex=False)
    child = ctx.Process(target=finalize, args=(sender,))
    child.start()
    sender.close()
    received = []
    with pytest.raises(EOFError):
        while True:
            received.append(receiver.recv())
    child.join()
    assert received == ["running", 20, 10, -5]


def test_a_program_that_exits_joins_its_children_and_ends_the_daemons(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import time, ramet

def work():
    time.sleep(0.3)
    print("worked", flush=True)

if __name__ == "__main__":
    ctx = ramet.get_context({method!r})
    ctx.Process(target=time.sleep, args=(10_000,), daemon=True).start()
    ctx.Process(target=work).start()
    print("leaving", flush=True)
"""
    )
    assert run(program) == (0, "leaving\nworked\n", "")


# --------------------------------------------------------------- what other libraries read


def wait_for(connection):
    connection.poll(None)


def test_the_handle_of_a_process(method):
    ctx = mp.get_context(method)
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=wait_for, args=(theirs,))
    assert child._popen is None
    child.start()
    popen = child._popen
    assert popen.method == method
    assert popen.pid == child.pid and popen.sentinel == child.sentinel
    assert popen.poll() is None and popen.returncode is None
    assert popen.wait(timeout=0) is None
    assert not select.select([popen.sentinel], [], [], 0)[0]
    assert child._parent_pid == os.getpid()
    assert child._identity[:-1] == mp.current_process()._identity
    assert child._config["authkey"] == mp.current_process().authkey
    ours.send(None)
    assert popen.wait() == 0 == popen.poll() == popen.returncode == child.exitcode
    assert select.select([popen.sentinel], [], [], 0)[0]
    child.close()
    assert child._closed


def test_the_handle_sends_signals(method):
    for name, number in (("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)):
        child = mp.get_context(method).Process(target=time.sleep, args=(10_000,))
        child.start()
        getattr(child._popen, name)()
        assert child._popen.wait() == -number == child.exitcode


def test_the_names_of_a_pool(method):
    ctx = mp.get_context(method)
    with ctx.Pool(2) as pool:
        assert pool._processes == 2 == len(pool._pool)
        assert pool._ctx is ctx
        assert pool._state == mp.pool.RUN == multiprocessing.pool.RUN
        pids = {process.pid for process in pool._pool}
        assert pids == {process._popen.pid for process in pool._pool}
        assert all(process.is_alive() for process in pool._pool)
        assert pool.apply(os.getpid) in pids
        assert isinstance(pool, multiprocessing.pool.Pool) and callable(pool._setup_queues)
        pool.close()
        assert pool._state == multiprocessing.pool.CLOSE
    assert pool._state == multiprocessing.pool.TERMINATE


def test_a_pool_whose_queues_a_subclass_would_set_up(method):
    """joblib's pool does, to have reducers of its own: ours has no queues, and works without."""

    class Pool(mp.pool.Pool):
        def _setup_queues(self):
            raise AssertionError("there are none")

    with Pool(2, context=mp.get_context(method)) as pool:
        assert pool.map(abs, [-1, -2, 3]) == [1, 2, 3]


def test_contexts_by_their_method():
    contexts = mp.context._concrete_contexts
    assert set(contexts) == set(multiprocessing.context._concrete_contexts)
    for name, context in contexts.items():
        assert mp.get_context(name) is context
        assert context._name == name
        assert issubclass(context.Process, multiprocessing.process.BaseProcess)
        assert context.Process._start_method == name
    assert mp.context._default_context.get_context() in contexts.values()


def test_a_process_that_is_no_longer_wanted_leaves_no_descriptor(method):
    """What the names above hold on to goes with the process object."""
    count = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = mp.get_context(method).Process()
        child.start()
        child.join()
    del child
    gc.collect()
    multiprocessing.active_children()
    assert len(os.listdir("/proc/self/fd")) <= count + 3  # those of the server, if it is new
