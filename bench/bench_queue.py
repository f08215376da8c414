# SPDX-License-Identifier: MIT
"""Queue: what it costs to get messages from one process to another, and back."""

from time import perf_counter

from case import case


def produce(queue, go, message, count):
    go.wait()
    for _ in range(count):
        queue.put(message)


def one_to_one(mp, message, count):
    """The seconds from the start of a producer until its last message has arrived here."""
    queue, go = mp.Queue(), mp.Event()
    producer = mp.Process(target=produce, args=(queue, go, message, count))
    producer.start()
    start = perf_counter()
    go.set()
    for _ in range(count):
        queue.get()
    seconds = perf_counter() - start
    producer.join()
    return seconds


@case("Queue, small int, 1 to 1", 30_000)
def small_int(mp, count):
    return one_to_one(mp, 7, count)


@case("Queue, 100 bytes, 1 to 1", 30_000)
def hundred_bytes(mp, count):
    return one_to_one(mp, b"x" * 100, count)


@case("Queue, 1 MiB of bytes, 1 to 1", 200)
def one_mebibyte(mp, count):
    return one_to_one(mp, b"x" * 2**20, count)


def echo(requests, answers):
    while (message := requests.get()) is not None:
        answers.put(message)


@case("Queue, round trip", 5_000)
def round_trip(mp, count):
    requests, answers = mp.Queue(), mp.Queue()
    child = mp.Process(target=echo, args=(requests, answers))
    child.start()
    requests.put(0)
    answers.get()
    start = perf_counter()
    for number in range(count):
        requests.put(number)
        answers.get()
    seconds = perf_counter() - start
    requests.put(None)
    child.join()
    return seconds


@case("Queue, put and get in one process", 10_000)
def put_and_get(mp, count):
    queue = mp.Queue()
    queue.put(0)
    queue.get()
    start = perf_counter()
    for number in range(count):
        queue.put(number)
        queue.get()
    return perf_counter() - start
