# SPDX-License-Identifier: MIT
"""One process: how it starts, what it inherits, how it ends, and what its parent sees of that."""

import ast
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
import ramet as mp
from ramet.connection import wait


def nothing():
    pass


def leave(code):
    sys.exit(code)


def fail():
    raise LookupError("what the child says")


def die(signum):
    os.kill(os.getpid(), signum)


def until_closed(connection):
    """Run until the other end says so."""
    connection.send(os.getpid())
    connection.recv()


def describe_parent(connection):
    parent = mp.parent_process()
    connection.send((parent.pid, parent.name, parent.is_alive()))


def describe(connection):
    me = mp.current_process()
    connection.send((me.name, me.pid, bytes(me.authkey), me.daemon, sys.stdin.read()))


def start_another(connection):
    child = mp.Process(target=nothing)
    child.start()
    with pytest.raises(AssertionError, match="twice"):
        child.start()
    child.join()
    connection.send((child.daemon, child.exitcode))


def leave_a_grandchild_behind(connection):
    if os.fork() == 0:
        connection.send(os.getpid())
        while True:
            signal.pause()


def print_without_end():
    sys.stdout.write("out")
    sys.stderr.write("err")


@pytest.fixture
def context(method):
    return mp.get_context(method)


@pytest.fixture
def running(context):
    """A process that waits to be told, and the connection to tell it; ended afterwards."""
    ours, theirs = context.Pipe()
    process = context.Process(target=until_closed, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() == process.pid
    yield process, ours
    process.kill()
    process.join()


def finished(context, target, *args, **options):
    """A process that has run to its end."""
    process = context.Process(target=target, args=args, **options)
    process.start()
    process.join()
    return process


# ---------------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code(context, code):
    assert finished(context, leave, code).exitcode == code


def test_exit_code_of_a_message(context, capfd):
    assert finished(context, leave, "a last word").exitcode == 1
    assert capfd.readouterr().err == "a last word\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_exit_code_of_a_signal(context, signum):
    assert finished(context, die, signum).exitcode == -signum


def test_exception_is_printed_with_its_traceback(context, capfd):
    process = finished(context, fail, name="the one")
    assert process.exitcode == 1
    err = capfd.readouterr().err
    assert err.startswith("Process the one:\nTraceback (most recent call last):\n")
    assert err.endswith("LookupError: what the child says\n")


def test_buffered_output_is_written_at_exit(context, capfd):
    assert finished(context, print_without_end).exitcode == 0
    assert capfd.readouterr() == ("out", "err")


# ------------------------------------------------------------------------- seen from the parent


def test_life_of_a_process(context):
    ours, theirs = context.Pipe()
    process = context.Process(target=until_closed, args=(theirs,), name="its name")
    assert (process.pid, process.exitcode, process.is_alive()) == (None, None, False)
    with pytest.raises(ValueError, match="process not started"):
        _ = process.sentinel
    with pytest.raises(AssertionError, match="can only join a started process"):
        process.join()
    process.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()
    theirs.close()
    assert ours.recv() == process.pid != os.getpid()
    assert process.is_alive() and process.exitcode is None and "started" in repr(process)
    with pytest.raises(ValueError, match="Cannot close a process while it is still running"):
        process.close()
    ours.send(None)
    process.join()
    process.join()
    assert not process.is_alive() and process.exitcode == 0 and "stopped" in repr(process)
    process.close()
    for use in (process.is_alive, process.join, process.terminate, process.kill):
        with pytest.raises(ValueError, match="process object is closed"):
            use()
    process.close()


def test_join_with_a_time_limit(running):
    process, connection = running
    for timeout in (0, -1, 0.05):
        assert process.join(timeout) is None
        assert process.is_alive()
    connection.send(None)
    process.join(10**6)
    assert process.exitcode == 0


def test_terminate_and_kill(running, context):
    process, _ = running
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    process.terminate()
    process.kill()
    other = context.Process(target=time.sleep, args=(10**6,))
    other.start()
    other.kill()
    other.join()
    assert other.exitcode == -signal.SIGKILL


def test_sentinel_is_a_descriptor_to_wait_for(running):
    process, connection = running
    assert wait([process.sentinel], timeout=0) == []
    assert select.select([process.sentinel], [], [], 0)[0] == []
    connection.send(None)
    assert wait([process.sentinel]) == [process.sentinel]
    assert select.select([process.sentinel], [], [])[0] == [process.sentinel]
    assert process.exitcode == 0


def test_sentinel_is_of_the_child_and_not_of_its_descendants(context):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=leave_a_grandchild_behind, args=(sender,))
    process.start()
    sender.close()
    grandchild = receiver.recv()
    try:
        assert wait([process.sentinel])
        process.join()
        assert process.exitcode == 0
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_sentinel_fires_though_a_sibling_was_forked_meanwhile(running):
    process, connection = running
    sibling = mp.get_context("fork").Process(target=time.sleep, args=(10**6,))
    sibling.start()
    connection.send(None)
    process.join()
    assert process.exitcode == 0
    sibling.kill()
    sibling.join()


def test_many_threads_wait_for_one_process(running):
    process, connection = running
    seen = []

    def join():
        process.join()
        seen.append(process.exitcode)

    threads = [threading.Thread(target=join) for _ in range(8)]
    for thread in threads:
        thread.start()
    connection.send(None)
    for thread in threads:
        thread.join()
    assert seen == [0] * 8


def test_many_processes_at_once(context):
    processes = [context.Process(target=leave, args=(number,)) for number in range(12)]
    for process in processes:
        process.start()
    for process in reversed(processes):
        process.join()
    assert [process.exitcode for process in processes] == list(range(12))
    assert not set(processes) & set(mp.active_children())


def test_process_started_and_joined_by_another_thread(context):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(finished(context, leave, 5).exitcode))
    thread.start()
    thread.join()
    assert codes == [5]


def test_no_descriptor_is_left(context):
    finished(context, nothing)  # whatever is made once, is there now
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        finished(context, nothing).close()
        finished(context, nothing)
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------ seen from the child


def test_child_knows_itself(context):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=describe, args=(sender,), name="somebody", daemon=True)
    assert process.authkey == mp.current_process().authkey
    process.start()
    sender.close()
    authkey = bytes(mp.current_process().authkey)
    assert receiver.recv() == ("somebody", process.pid, authkey, True, "")
    process.join()


def test_names_are_those_of_the_standard_library(context):
    process = context.Process()
    assert process.name == f"{type(process).__name__}-{process._identity[-1]}"
    assert process.name.startswith(("ForkProcess-", "SpawnProcess-", "ForkServerProcess-"))


def test_child_knows_its_parent(context):
    assert mp.parent_process() is None
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=describe_parent, args=(sender,))
    process.start()
    sender.close()
    assert receiver.recv() == (os.getpid(), mp.current_process().name, True)
    process.join()


def test_daemonic_process_may_have_children(context):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=start_another, args=(sender,), daemon=True)
    process.start()
    sender.close()
    assert receiver.recv() == (True, 0)
    process.join()
    with pytest.raises(AssertionError, match="process has already started"):
        process.daemon = False


# ------------------------------------------------------------------------- starting that fails


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("will not be pickled")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_cannot_be_pickled_fails_in_the_caller(context):
    before = set(mp.active_children())
    process = context.Process(target=nothing, args=(Unpicklable(),))
    with pytest.raises(ZeroDivisionError, match="will not be pickled"):
        process.start()
    assert set(mp.active_children()) == before
    assert process.exitcode is None


class Unloadable:
    def __reduce__(self):
        return fail, ()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_starter_learns_why_a_child_could_not_begin(context, capfd):
    process = context.Process(target=nothing, args=(Unloadable(),))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert "LookupError: what the child says" in capfd.readouterr().err
    assert "LookupError: what the child says" in str(process._popen.bootstrap_error())

    process = context.Process(target=nothing, args=(Unloadable(),))
    process._starter_reports = True
    process.start()
    process.join()
    assert capfd.readouterr().err == ""
    assert "LookupError: what the child says" in str(process._popen.bootstrap_error())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_starter_learns_that_a_child_was_killed_on_its_way(context):
    process = context.Process(target=nothing, args=(Killer(),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "ended with exit code -9 before it could begin" in str(process._popen.bootstrap_error())


class Killer:
    def __reduce__(self):
        return die, (signal.SIGKILL,)


def test_no_error_where_the_child_began(context):
    process = context.Process(target=leave, args=(4,))
    process.start()
    process._popen.bootstrap_error()
    process.join()
    assert process._popen.bootstrap_error() is None


def test_arguments_are_larger_than_any_buffer(context):
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_length, args=(sender, b"x" * (1 << 24)))
    process.start()
    sender.close()
    assert receiver.recv() == 1 << 24
    process.join()


def send_length(connection, data):
    connection.send(len(data))


def use_lock(connection, lock):
    with lock:
        connection.send("used")


def take_from(queue, connection):
    connection.send(queue.get())


def test_handle_lives_until_the_child_has_it(context):
    receiver, sender = context.Pipe(duplex=False)
    queue = context.Queue()
    queue.put("still there")
    process = context.Process(target=take_from, args=(queue, sender))
    lock = context.Process(target=use_lock, args=(sender, context.Lock()))
    del queue
    process.start()  # now the only references here are gone
    assert receiver.recv() == "still there"
    lock.start()
    sender.close()
    assert receiver.recv() == "used"
    process.join()
    lock.join()
    assert (process.exitcode, lock.exitcode) == (0, 0)


def test_a_child_whose_sentinel_was_closed_is_an_error_and_no_hang():
    process = mp.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    popen = process._popen
    popen.close()
    for ask in (popen.wait, popen.poll):
        with pytest.raises(OSError):
            ask()
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    popen.returncode = -signal.SIGKILL
    process.join()


INPUT = """\
import sys
import ramet as mp

def child(depth, seen):
    seen.put((sys.stdin.read(), sys.stdin.fileno() > 2, sys.__stdin__.closed))
    if depth:
        grandchild = mp.Process(target=child, args=(depth - 1, seen))
        grandchild.start()
        grandchild.join()

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    assert sys.stdin.readline() == "first\\n"
    seen = mp.SimpleQueue()
    for _ in range(2):
        process = mp.Process(target=child, args=(1, seen))
        process.start()
        process.join()
    print([seen.get() for _ in range(4)])
    print(sys.stdin.read().split())
"""


def test_children_have_an_empty_standard_input(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(INPUT)
    done = subprocess.run(
        [sys.executable, program, method],
        input="first\nsecond\nthird\n",
        capture_output=True,
        text=True,
    )
    seen, rest = done.stdout.splitlines()
    assert rest == "['second', 'third']" and done.stderr == ""
    # A server's own input was replaced before: that one is closed, and the first one of all.
    assert {each[:1] for each in ast.literal_eval(seen)} == {("",)}
    if method == "fork":
        assert set(ast.literal_eval(seen)) == {("", True, True)}
