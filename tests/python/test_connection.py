# SPDX-License-Identifier: MIT
"""Connections and pipes: the interface, what arrives, the end of file, and deaths."""

import array
import contextlib
import io
import multiprocessing.connection as std
import os
import pickle
import select
import signal
import socket
import threading
import time

import family
import pytest
import ramet as mp
from ramet.connection import Client, Connection, Listener, Pipe, wait
from ramet.reduction import ForkingPickler

OBJECTS = [
    None,
    1,
    2.5,
    "text",
    b"bytes",
    [1, 2, [3]],
    {"a": (1, 2)},
    range(3),
    {1, 2},
    b"x" * 2000,
    b"y" * 5000,
    bytearray(b"z" * 3_000_000),
    ["w" * 70_000] * 3,
    list(range(50_000)),
]


@contextlib.contextmanager
def sending(send, *args, **kwds):
    """A thread that sends: what is beyond a pipe's bound keeps its sender until it is received."""
    thread = threading.Thread(target=send, args=args, kwargs=kwds)
    thread.start()
    yield thread
    thread.join()


# ---------------------------------------------------------------------------- in one process


def test_what_it_is():
    a, b = mp.Pipe()
    assert isinstance(a, Connection) and isinstance(a, std.Connection)
    assert (a.readable, a.writable, a.closed) == (True, True, False)
    reader, writer = Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    with pytest.raises(OSError, match="write-only"):
        writer.recv()
    with pytest.raises(OSError, match="write-only"):
        writer.poll()
    with a, b:
        pass
    assert a.closed
    a.close()
    for call in (a.recv, a.fileno, a.poll, lambda: a.send(1), lambda: a.send_bytes(b"")):
        with pytest.raises(OSError, match="handle is closed"):
            call()


def test_objects():
    a, b = Pipe()
    for obj in OBJECTS:
        with sending(a.send, obj):
            assert b.recv() == obj
        with sending(b.send, obj=obj):
            assert a.recv() == obj


def test_what_cannot_be_pickled_leaves_the_pipe_working():
    a, b = Pipe()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        a.send(lambda: None)
    assert not b.poll()
    a.send(1)
    assert b.recv() == 1


def test_bytes():
    a, b = Pipe()
    for size in (0, 1, 2047, 2048, 2049, 100_000, 5_000_000):
        data = os.urandom(size)
        with sending(a.send_bytes, data):
            assert b.recv_bytes() == data
    a.send_bytes(b"abcdefgh", 2)
    assert b.recv_bytes() == b"cdefgh"
    a.send_bytes(b"abcdefgh", offset=2, size=3)
    assert b.recv_bytes() == b"cde"
    a.send_bytes(memoryview(b"abcdefgh")[::2])
    assert b.recv_bytes() == b"aceg"
    a.send_bytes(array.array("i", [1, 2]))
    assert b.recv_bytes() == array.array("i", [1, 2]).tobytes()
    for arguments in ((b"abc", 4), (b"abc", -1), (b"abc", 1, -1), (b"abc", 1, 3)):
        with pytest.raises(ValueError):
            a.send_bytes(*arguments)
    with pytest.raises(TypeError):
        a.send_bytes("text")
    with pytest.raises(TypeError):
        a.send_bytes()
    with pytest.raises(TypeError):
        a.send_bytes(b"", nothing=1)
    with pytest.raises(ValueError):
        b.recv_bytes(-1)
    assert not b.poll()


def test_bytes_that_are_too_long():
    a, b = Pipe()
    a.send_bytes(b"12345")
    with pytest.raises(OSError, match="bad message length"):
        b.recv_bytes(4)
    assert not b.readable and not b.closed
    reader, writer = Pipe(False)
    writer.send_bytes(b"12345")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(maxlength=4)
    assert reader.closed


def test_bytes_into_a_buffer():
    a, b = Pipe()
    buffer = array.array("i", [0] * 5)
    a.send_bytes(array.array("i", [7, 8]))
    assert b.recv_bytes_into(buffer, 2 * buffer.itemsize) == 2 * buffer.itemsize
    assert list(buffer) == [0, 0, 7, 8, 0]
    a.send_bytes(b"x" * 100)
    with pytest.raises(mp.BufferTooShort) as info:
        b.recv_bytes_into(buffer)
    assert info.value.args == (b"x" * 100,)
    with pytest.raises(ValueError):
        b.recv_bytes_into(buffer, 1000)
    with pytest.raises(ValueError):
        b.recv_bytes_into(buffer, -1)


def test_objects_and_bytes_mix_as_they_do_in_the_standard_library():
    a, b = Pipe()
    a.send_bytes(pickle.dumps({"a": 1}))
    assert b.recv() == {"a": 1}
    a.send({"b": [2]})
    assert pickle.loads(b.recv_bytes()) == {"b": [2]}


def test_poll():
    a, b = Pipe()
    assert a.poll() is False
    assert a.poll(-1) is False
    start = time.monotonic()
    assert a.poll(0.2) is False
    assert time.monotonic() - start >= 0.2
    b.send(1)
    assert a.poll() and a.poll(None) and a.poll(timeout=5)
    with pytest.raises(TypeError):
        a.poll("soon")
    with pytest.raises(ValueError):
        a.poll(float("nan"))
    a.recv()
    b.close()
    assert a.poll() and a.poll(None)


def test_end_of_file():
    a, b = Pipe()
    b.send(1)
    b.send("2" * 100_000)
    b.close()
    assert a.recv() == 1
    assert a.recv() == "2" * 100_000
    for call in (a.recv, a.recv_bytes, lambda: a.recv_bytes_into(bytearray(9))):
        with pytest.raises(EOFError):
            call()
    with pytest.raises(BrokenPipeError):
        a.send(1)


def test_wait_takes_all_kinds():
    a, b = Pipe()
    s, t = socket.socketpair()
    c, d = std.Pipe()
    with a, b, s, t, c, d:
        everything = [a, s, c]
        assert wait(everything, 0) == []
        b.send(1)
        assert wait(everything) == [a]
        t.send(b"x")
        d.send(1)
        assert set(wait(everything)) == {a, s, c}
        assert a.recv() == 1
        assert set(wait(everything)) == {s, c}
        b.close()
        assert set(wait(everything)) == {a, s, c}


def test_descriptor_of_a_pipe_in_use():
    a, b = Pipe()
    for i in range(1000):
        b.send(i)
    assert select.select([a], [], [], 0)[0] == [a]
    for i in range(1000):
        assert select.select([a], [], [], 0)[0] == [a]
        assert a.recv() == i
    assert select.select([a], [], [], 0)[0] == []


def test_threads_on_one_connection():
    a, b = Pipe()
    got = []

    def work():
        while (item := b.recv()) is not None:
            got.append(item)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(3000):
        a.send(i)
    for _ in threads:
        a.send(None)
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(3000))


def test_closing_under_a_thread_that_waits():
    a, b = Pipe()
    result = []
    thread = threading.Thread(target=lambda: result.append(a.recv()))
    thread.start()
    family.until_asleep(thread)
    a.close()
    assert a.closed
    b.send("still")
    thread.join()
    assert result == ["still"]
    with pytest.raises(EOFError):
        b.recv()


def test_a_signal_handler_runs_while_a_connection_waits():
    a, b = Pipe()

    class Ring(Exception):
        pass

    def handler(signum, frame):
        raise Ring

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for call in (a.recv, lambda: a.poll(None), lambda: fill_up(b)):
            with pytest.raises(Ring):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                call()
    finally:
        signal.signal(signal.SIGALRM, before)


def fill_up(connection):
    while True:
        connection.send_bytes(b"x" * 1000)


BEYOND = b"z" * (2 << 20)  # more than a pipe is meant to hold


@pytest.mark.parametrize("send, recv", [("send", "recv"), ("send_bytes", "recv_bytes")])
def test_a_message_beyond_the_bound_keeps_its_sender(send, recv):
    a, b = Pipe()
    getattr(a, send)(BEYOND[: 1 << 19])  # less does not
    assert getattr(b, recv)() == BEYOND[: 1 << 19]
    sent = threading.Event()

    def run():
        getattr(a, send)(BEYOND)
        sent.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert b.poll(None)
    b.send("the other way is free")
    assert a.recv() == "the other way is free"
    assert not sent.is_set()
    assert getattr(b, recv)() == BEYOND
    thread.join()
    assert sent.is_set()


def test_a_message_beyond_the_bound_that_nobody_will_receive():
    a, b = Pipe()
    errors = []

    def run():
        try:
            a.send_bytes(BEYOND)
        except OSError as error:
            errors.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert b.poll(None)
    b.close()
    thread.join()
    assert errors == [BrokenPipeError]


def test_a_message_that_was_received_before_the_end_was_closed_is_sent():
    a, b = Pipe()
    errors = []

    def run():
        try:
            a.send_bytes(BEYOND)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert b.recv_bytes() == BEYOND
    b.close()
    thread.join()
    assert not errors


def test_a_signal_handler_runs_while_a_message_waits_to_be_received():
    a, b = Pipe()

    class Ring(Exception):
        pass

    def handler(signum, frame):
        raise Ring

    before = signal.signal(signal.SIGALRM, handler)
    try:
        while not b.poll():  # or it rang before the call had begun
            with pytest.raises(Ring):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                a.send_bytes(BEYOND)
                signal.pause()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert b.recv_bytes() == BEYOND  # it stays sent
    assert not b.poll()


def test_foreign_descriptors_keep_the_standard_librarys_framing():
    s, t = socket.socketpair()
    ours, theirs = Connection(s.detach()), std.Connection(t.detach())
    ours.send([1, 2])
    assert theirs.recv() == [1, 2]
    theirs.send_bytes(b"abc")
    assert ours.poll() and ours.recv_bytes() == b"abc"
    theirs.send_bytes(b"abc")
    buffer = bytearray(5)
    assert ours.recv_bytes_into(buffer) == 3 and buffer[:3] == b"abc"
    assert ours.readable and ours.writable and not ours.closed
    assert wait([ours], 0) == []
    ours.close()
    assert ours.closed
    with pytest.raises(OSError, match="handle is closed"):
        ours.send(1)
    with pytest.raises(EOFError):
        theirs.recv()
    theirs.close()
    with pytest.raises(ValueError):
        Connection(-1)
    with pytest.raises(TypeError):
        Connection()


def test_listener_and_client():
    with Listener() as listener:
        with Client(listener.address) as client, listener.accept() as connection:
            client.send({"a": 1})
            assert connection.recv() == {"a": 1}


# ------------------------------------------------------------------------- between processes


def echo(connection, *others):
    for other in others:
        other.close()
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            break


def inherited(method, *connections):
    """What a forked child has to close."""
    return connections if method == "fork" else ()


def test_both_ways_and_end_of_file(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    process = ctx.Process(target=echo, args=(b, *inherited(method, a)))
    process.start()
    b.close()
    for obj in OBJECTS:
        a.send(obj)
        assert a.recv() == obj
    a.close()
    process.join()
    assert process.exitcode == 0


def close_and_stay(connection, stay, *others):
    for other in others:
        other.close()
    connection.send("here")
    connection.close()
    stay.recv()


def test_end_of_file_while_the_other_process_lives(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    c, d = ctx.Pipe()
    process = ctx.Process(target=close_and_stay, args=(b, d, *inherited(method, a, c)))
    process.start()
    b.close()
    d.close()
    assert a.recv() == "here"
    with pytest.raises(EOFError):
        a.recv()
    assert process.is_alive()
    c.send("go")
    process.join()
    assert process.exitcode == 0


def write_and_leave(connection):
    for i in range(5):
        connection.send(i)


def read_all(connection, result, *others):
    for other in others:
        other.close()
    items = []
    while True:
        try:
            items.append(connection.recv())
        except EOFError:
            break
    result.send(items)


def test_a_pipe_between_two_children(method):
    """The parent only waits, in the other order, and never asks after the writer."""
    ctx = mp.get_context(method)
    r, w = ctx.Pipe(False)
    result, into = ctx.Pipe(False)
    reader = ctx.Process(target=read_all, args=(r, into, *inherited(method, w)))
    writer = ctx.Process(target=write_and_leave, args=(w,))
    reader.start()
    writer.start()
    r.close()
    w.close()
    into.close()
    assert result.recv() == [0, 1, 2, 3, 4]
    reader.join()
    writer.join()


def take_over(connection):
    writer = connection.recv()
    writer.send("all is well")
    writer.close()
    reader = connection.recv()
    connection.send(reader.recv() * 2)
    with_poll = connection.recv()
    connection.send((wait([with_poll]) == [with_poll], with_poll.recv()))


def test_ends_through_a_pipe(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    process = ctx.Process(target=take_over, args=(b,))
    process.start()
    b.close()
    r, w = ctx.Pipe(duplex=False)
    a.send(w)
    w.close()
    assert r.recv() == "all is well"
    with pytest.raises(EOFError):
        r.recv()
    r.close()
    r, w = ctx.Pipe(duplex=False)
    a.send(r)
    r.close()
    w.send("foobar")
    w.close()
    assert a.recv() == "foobar" * 2
    r, w = ctx.Pipe(duplex=False)
    a.send(r)
    r.close()
    w.send(5)
    assert a.recv() == (True, 5)
    process.join()


def test_ends_through_a_queue(method):
    ctx = mp.get_context(method)
    queue = ctx.Queue()
    a, b = ctx.Pipe()
    process = ctx.Process(target=echo_from, args=(queue,))
    process.start()
    queue.put(b)
    b.close()
    a.send([1, 2, 3])
    assert a.recv() == [1, 2, 3]
    process.join()
    with pytest.raises(EOFError):
        a.recv()


def echo_from(queue):
    connection = queue.get()
    connection.send(connection.recv())
    connection.close()


def test_ends_through_a_connection_of_the_standard_library():
    theirs, other = std.Pipe()
    a, b = Pipe()
    theirs.send(b)
    b.close()
    c = other.recv()
    a.send(1)
    assert c.recv() == 1
    assert wait([a], 0) == []
    c.send(2)
    assert wait([a]) == [a] and a.recv() == 2
    c.close()
    with pytest.raises(EOFError):
        a.recv()


def test_a_pickle_whose_end_is_gone():
    a, b = Pipe()
    data = io.BytesIO()
    ForkingPickler(data).dump(b)
    a.close()
    b.close()
    pickle.loads(data.getvalue()).close()  # the pickle keeps it, until it is opened
    with pytest.raises(OSError):
        pickle.loads(data.getvalue())


def hand_over_and_leave(queue):
    a, b = Pipe()
    queue.put((a, b))


def test_an_end_whose_sender_is_gone_works_but_for_its_descriptor():
    ctx = mp.get_context("fork")
    queue = ctx.Queue()
    process = ctx.Process(target=hand_over_and_leave, args=(queue,))
    process.start()
    process.join()
    a, b = queue.get()
    a.send(1)
    assert b.recv() == 1
    with pytest.raises(OSError):
        a.fileno()


# ------------------------------------------------------------------------------------- deaths


def hang(connection, *others):
    for other in others:
        other.close()
    connection.send("up")
    while True:
        time.sleep(60)


def test_a_killed_peer_is_the_end_of_file(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    process = ctx.Process(target=hang, args=(b, *inherited(method, a)))
    process.start()
    b.close()
    assert a.recv() == "up"
    killer = threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(EOFError):
        a.recv()
    killer.join()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_peer_shows_in_wait_and_poll(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    process = ctx.Process(target=hang, args=(b, *inherited(method, a)))
    process.start()
    b.close()
    assert a.recv() == "up"
    assert wait([a], 0) == []
    os.kill(process.pid, signal.SIGKILL)
    assert wait([a]) == [a]
    assert a.poll(None)
    with pytest.raises(EOFError):
        a.recv()
    process.join()


def test_a_killed_reader_breaks_the_pipe():
    ctx = mp.get_context("fork")
    a, b = ctx.Pipe()
    process = ctx.Process(target=hang, args=(b, a))
    process.start()
    b.close()
    assert a.recv() == "up"
    killer = threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(BrokenPipeError):
        fill_up(a)
    killer.join()
    process.join()


def test_a_killed_reader_lets_go_a_sender_whose_message_it_did_not_read():
    ctx = mp.get_context("fork")
    a, b = ctx.Pipe()
    process = ctx.Process(target=hang, args=(b, a))
    process.start()
    b.close()
    assert a.recv() == "up"
    killer = threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(BrokenPipeError):
        a.send_bytes(BEYOND)
    killer.join()
    process.join()


def test_a_stopped_peer_is_not_the_end_of_file():
    ctx = mp.get_context("fork")
    a, b = ctx.Pipe()
    process = ctx.Process(target=echo, args=(b, a))
    process.start()
    b.close()
    a.send(1)
    assert a.recv() == 1
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    a.send(2)
    assert not a.poll(0.7)
    os.kill(process.pid, signal.SIGCONT)
    assert a.recv() == 2
    a.close()
    process.join()


def die(*ignored):
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """An argument that kills the child which unpickles it."""

    def __reduce__(self):
        return die, ()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_that_dies_before_it_has_its_end(method):
    ctx = mp.get_context(method)
    a, b = ctx.Pipe()
    process = ctx.Process(target=echo, args=(Deadly(), b))
    process.start()
    b.close()
    with pytest.raises(EOFError):
        a.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
