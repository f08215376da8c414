# SPDX-License-Identifier: MIT
"""Process: start and join, under each start method."""

from time import perf_counter

from case import case


def nothing():
    pass


def start_and_join(mp, count):
    start = None
    for number in range(count + 1):
        process = mp.Process(target=nothing)
        process.start()
        process.join()
        if number == 0:  # the servers that some methods need have started
            start = perf_counter()
    return perf_counter() - start


case("Process start and join, fork", 50, "fork")(start_and_join)
case("Process start and join, spawn", 5, "spawn")(start_and_join)
case("Process start and join, forkserver", 20, "forkserver")(start_and_join)
