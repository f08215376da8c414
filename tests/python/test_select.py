# SPDX-License-Identifier: MIT
"""Queues in select and in multiprocessing.connection.wait, among other things to wait for."""

import concurrent.futures
import concurrent.futures.process
import io
import multiprocessing.connection
import os
import select
import signal
import socket
import threading

import pytest
import ramet
from ramet.connection import wait


def is_readable(end):
    return bool(select.select([end], [], [], 0)[0])


def put_all(queue, items):
    for item in items:
        queue.put(item)


def square(number):
    return number * number


def fails(number):
    raise ValueError(f"not {number}")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("make", [ramet.Queue, ramet.JoinableQueue, ramet.SimpleQueue])
def test_a_queue_is_readable_while_something_is_in_it(make):
    queue = make()
    end = queue._reader
    assert not is_readable(end)
    queue.put(1)
    queue.put(2)
    assert wait([end]) == [end]
    assert queue.get() == 1
    assert is_readable(end)
    assert end.recv() == 2
    assert not is_readable(end)
    assert not end.poll()
    queue.put(3)
    assert end.poll(None)
    assert end.fileno() == queue._reader.fileno()
    with pytest.raises(io.UnsupportedOperation):
        queue._writer.fileno()


def test_many_at_once_and_the_end():
    queue = ramet.Queue()
    end = queue._reader
    queue.put_many(range(100))
    assert is_readable(end)
    assert queue.get_many() == list(range(100))
    assert not is_readable(end)
    queue.shutdown()
    assert wait([end]) == [end]


def test_what_another_process_takes(method):
    queue = ramet.Queue()
    end = queue._reader
    queue.put(1)
    assert is_readable(end)
    process = ramet.get_context(method).Process(target=queue_get, args=(queue,))
    process.start()
    process.join()
    assert queue.empty()
    assert not is_readable(end)
    # And where nobody asks the queue, it is found after a moment.
    queue.put(2)
    assert wait([end]) == [end]
    process = ramet.get_context("fork").Process(target=queue_get, args=(queue,))
    process.start()
    process.join()
    while is_readable(end):
        threading.Event().wait(0.01)


def queue_get(queue):
    queue.get()


def test_mixed_with_everything_else(method):
    context = ramet.get_context(method)
    queue, bounded = context.Queue(), context.Queue(3)
    ours, theirs = context.Pipe()
    plain, far = multiprocessing.Pipe()
    left, right = socket.socketpair()
    process = context.Process(target=put_all, args=(bounded, range(10)))
    with left, right, plain, far:
        everything = [queue._reader, bounded._reader, ours, plain, left]
        assert wait(everything, 0) == []
        process.start()
        everything.append(process.sentinel)
        found = []
        while len(found) < 10:
            assert everything[1] in wait(everything)
            found.append(bounded.get())
        assert found == list(range(10))
        assert wait(everything) == [process.sentinel]
        process.join()
        everything.pop()
        for put, end in (
            (queue.put, everything[0]),
            (theirs.send, ours),
            (far.send, plain),
            (lambda _: right.send(b"x"), left),
        ):
            put(1)
            assert wait([each for each in everything if each is end or not is_readable(each)])
        assert len(wait(everything)) == 4


def test_a_forked_child_has_a_descriptor_of_its_own():
    queue, answers = ramet.Queue(), ramet.Queue()
    number = queue._reader.fileno()
    queue.put(0)
    process = ramet.get_context("fork").Process(target=in_child, args=(queue, number, answers))
    process.start()
    assert answers.get() == "empty"
    assert not is_readable(queue._reader)
    queue.put(1)
    assert answers.get() == "got 1"
    process.join()
    assert queue.empty()
    assert not is_readable(number)


def in_child(queue, number, answers):
    assert is_readable(number)
    assert queue.get() == 0
    assert queue._reader.fileno() == number
    assert not is_readable(number)
    answers.put("empty")
    assert wait([queue._reader])
    answers.put(f"got {queue.get()}")


def test_several_wait_and_each_item_comes_once():
    queue, results = ramet.Queue(), ramet.SimpleQueue()
    context = ramet.get_context("fork")
    processes = [
        context.Process(target=select_items, args=(queue, results), daemon=True) for _ in range(3)
    ]
    for process in processes:
        process.start()
    queue.put_many(range(600))
    for _ in processes:
        queue.put(None)
    found = [results.get() for _ in range(600)]
    assert sorted(found) == list(range(600))
    for process in processes:
        process.join()


def select_items(queue, results):
    end = queue._reader
    while True:
        wait([end])
        try:
            item = queue.get_nowait()
        except ramet.queues.Empty:
            continue
        if item is None:
            return
        results.put(item)


def test_descriptors_go_with_their_queues():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        queue = ramet.Queue()
        queue._reader.fileno()
        del queue
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_standard_librarys_executor_takes_our_context(method):
    context = ramet.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(square, range(50), chunksize=3)) == [n * n for n in range(50)]
        with pytest.raises(ValueError, match="not 3"):
            executor.submit(fails, 3).result()
        processes = list(executor._processes.values())
        assert all(isinstance(process, context.Process) for process in processes)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(killed).result()
