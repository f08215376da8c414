# SPDX-License-Identifier: MIT
"""Connections and sentinels of ours among other descriptors, in `wait`, `select` and the like."""

import multiprocessing.connection
import os
import select
import selectors
import socket

import pytest
import ramet
import ramet.connection

WAITS = (multiprocessing.connection.wait, ramet.connection.wait)


@pytest.fixture
def context(method):
    return ramet.get_context(method)


def end_when_told(connection):
    connection.recv()


@pytest.fixture
def things(context):
    """One of each kind, silent; and what makes each of them readable."""
    ours, theirs = context.Pipe()
    std_ours, std_theirs = multiprocessing.Pipe()
    near, far = socket.socketpair()
    read_end, write_end = os.pipe()
    order, told = context.Pipe()
    process = context.Process(target=end_when_told, args=(told,))
    process.start()
    told.close()
    yield {
        "pipe of ramet": (ours, lambda: theirs.send(1)),
        "pipe of multiprocessing": (std_ours, lambda: std_theirs.send(1)),
        "socket": (near, lambda: far.send(b"x")),
        "descriptor": (read_end, lambda: os.write(write_end, b"x")),
        "sentinel": (process.sentinel, lambda: (order.send(1), process.join())),
    }
    if process.is_alive():
        order.send(1)
    process.join()
    for end in (ours, theirs, std_ours, std_theirs, near, far, order):
        end.close()
    os.close(read_end)
    os.close(write_end)


def descriptor(thing):
    return thing if isinstance(thing, int) else thing.fileno()


@pytest.mark.parametrize("wait", WAITS, ids=["theirs", "ours"])
def test_wait(things, wait):
    everything = [thing for thing, _ in things.values()]
    assert wait(everything, 0) == []
    ready = []
    for thing, act in things.values():
        act()
        ready.append(thing)
        while len(found := wait(everything)) < len(ready):  # a socket may take its time
            pass
        assert sorted(map(descriptor, found)) == sorted(map(descriptor, ready))


def test_select_and_poll(things):
    by_descriptor = {descriptor(thing): name for name, (thing, _) in things.items()}
    poller = select.poll()
    epoll = select.epoll()
    for fd in by_descriptor:
        poller.register(fd, select.POLLIN)
        epoll.register(fd, select.EPOLLIN)
    assert select.select(list(by_descriptor), [], [], 0) == ([], [], [])
    assert poller.poll(0) == [] and epoll.poll(0) == []
    ready = set()
    for name, (thing, act) in things.items():
        act()
        ready.add(name)
        select.select([thing], [], [])
        assert {by_descriptor[fd] for fd in select.select(list(by_descriptor), [], [])[0]} == ready
        assert {by_descriptor[fd] for fd, _ in poller.poll()} == ready
        assert {by_descriptor[fd] for fd, _ in epoll.poll()} == ready
    epoll.close()


def test_selectors(things):
    with selectors.DefaultSelector() as selector:
        for name, (thing, _) in things.items():
            selector.register(thing, selectors.EVENT_READ, name)
        assert selector.select(0) == []
        for name, (_, act) in things.items():
            act()
            assert name in {key.data for key, _ in selector.select()}


def test_a_connection_that_was_read_empty_is_silent_again(context):
    ours, theirs = context.Pipe()
    for _ in range(3):
        assert select.select([ours], [], [], 0)[0] == []
        theirs.send(1)
        theirs.send(2)
        assert select.select([ours], [], [])[0] == [ours]
        assert ours.recv() == 1
        assert multiprocessing.connection.wait([ours]) == [ours]
        assert ours.recv() == 2
    theirs.close()
    assert select.select([ours], [], [])[0] == [ours]
    with pytest.raises(EOFError):
        ours.recv()
