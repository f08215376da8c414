# SPDX-License-Identifier: MIT
"""Lock, Value, Event and Condition: alone, against another process, and back and forth."""

from time import perf_counter

from case import case


def hold(lock, count):
    for _ in range(count):
        with lock:
            pass


def hold_after(go, done, lock, count):
    go.wait()
    hold(lock, count)
    done.set()


@case("with Lock, uncontended", 300_000)
def uncontended(mp, count):
    lock = mp.Lock()
    start = perf_counter()
    hold(lock, count)
    return perf_counter() - start


@case("with Lock, two processes", 100_000)
def contended(mp, count):
    """Both processes do half of the count; the end is when both are done."""
    lock, go, done = mp.Lock(), mp.Event(), mp.Event()
    other = mp.Process(target=hold_after, args=(go, done, lock, count // 2))
    other.start()
    start = perf_counter()
    go.set()
    hold(lock, count // 2)
    done.wait()
    seconds = perf_counter() - start
    other.join()
    return seconds


@case("Value += 1 under get_lock()", 100_000)
def value(mp, count):
    counter = mp.Value("i", 0)
    start = perf_counter()
    for _ in range(count):
        with counter.get_lock():
            counter.value += 1
    seconds = perf_counter() - start
    assert counter.value == count
    return seconds


def answer_events(ping, pong, count):
    for _ in range(count):
        ping.wait()
        ping.clear()
        pong.set()


@case("Event, back and forth", 5_000)
def events(mp, count):
    ping, pong = mp.Event(), mp.Event()
    other = mp.Process(target=answer_events, args=(ping, pong, count + 1))
    other.start()
    start = None
    for number in range(count + 1):
        ping.set()
        pong.wait()
        pong.clear()
        if number == 0:  # the other process has started
            start = perf_counter()
    seconds = perf_counter() - start
    other.join()
    return seconds


def take_turns(condition, turn, mine, count):
    for _ in range(count):
        with condition:
            while turn.value != mine:
                condition.wait()
            turn.value = 1 - mine
            condition.notify()


@case("Condition, back and forth", 5_000)
def condition(mp, count):
    changed, turn = mp.Condition(), mp.Value("i", 0, lock=False)
    other = mp.Process(target=take_turns, args=(changed, turn, 1, count + 1))
    other.start()
    take_turns(changed, turn, 0, 1)
    start = perf_counter()
    take_turns(changed, turn, 0, count)
    seconds = perf_counter() - start
    other.join()
    return seconds
