# SPDX-License-Identifier: MIT
"""Pipe: round trips, and a stream of small messages one way."""

from time import perf_counter

from case import case


def echo(connection):
    while (message := connection.recv()) is not None:
        connection.send(message)


@case("Pipe, round trip", 10_000)
def round_trip(mp, count):
    ours, theirs = mp.Pipe()
    child = mp.Process(target=echo, args=(theirs,))
    child.start()
    ours.send(0)
    ours.recv()
    start = perf_counter()
    for number in range(count):
        ours.send(number)
        ours.recv()
    seconds = perf_counter() - start
    ours.send(None)
    child.join()
    return seconds


def stream(connection, count):
    connection.recv()
    for number in range(count):
        connection.send(number)


@case("Pipe, small messages one way", 50_000)
def small_messages(mp, count):
    ours, theirs = mp.Pipe()
    child = mp.Process(target=stream, args=(theirs, count))
    child.start()
    start = perf_counter()
    ours.send("go")
    for _ in range(count):
        ours.recv()
    seconds = perf_counter() - start
    child.join()
    return seconds
