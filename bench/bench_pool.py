# SPDX-License-Identifier: MIT
"""Pool: many small items in each of its ways, and what opening one costs."""

import contextlib
from time import perf_counter

from case import case

WORKERS = 4


def square(number):
    return number * number


@contextlib.contextmanager
def warm_pool(mp):
    """A pool all of whose workers have started and worked."""
    with mp.Pool(WORKERS) as pool:
        pool.map(square, range(100 * WORKERS), chunksize=1)
        yield pool


@case("Pool.map, default chunks", 300_000)
def map_default(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        pool.map(square, range(count))
        return perf_counter() - start


@case("Pool.map, chunksize=1", 10_000)
def map_one(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        pool.map(square, range(count), chunksize=1)
        return perf_counter() - start


@case("Pool.imap", 10_000)
def imap(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        for _ in pool.imap(square, range(count)):
            pass
        return perf_counter() - start


@case("Pool.imap_unordered", 10_000)
def imap_unordered(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        for _ in pool.imap_unordered(square, range(count)):
            pass
        return perf_counter() - start


@case("Pool.apply_async().get(), one by one", 5_000)
def apply(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        for number in range(count):
            pool.apply_async(square, (number,)).get()
        return perf_counter() - start


@case("Pool.apply_async, a burst", 10_000)
def burst(mp, count):
    with warm_pool(mp) as pool:
        start = perf_counter()
        results = [pool.apply_async(square, (number,)) for number in range(count)]
        for result in results:
            result.get()
        return perf_counter() - start


def open_and_close(mp, count):
    start = perf_counter()
    for _ in range(count):
        pool = mp.Pool(WORKERS)
        pool.close()
        pool.join()
    return perf_counter() - start


case("Pool(4), open and close, fork", 10, "fork")(open_and_close)
case("Pool(4), open and close, spawn", 2, "spawn")(open_and_close)
case("Pool(4), open and close, forkserver", 4, "forkserver")(open_and_close)
