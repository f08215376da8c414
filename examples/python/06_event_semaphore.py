# SPDX-License-Identifier: MIT
"""An event releases all who wait for it; a semaphore of two never lets a third one in.

    python examples/python/06_event_semaphore.py [fork|spawn|forkserver]

The program knows that all are about to wait because each has said so, by a second semaphore.
"""

import sys
import time

import ramet as mp

PROCESSES = 4
VISITS = 10


def wait(event, ready, released):
    ready.release()
    event.wait()
    with released.get_lock():
        released.value += 1


def visit(semaphore, inside, most):
    for _ in range(VISITS):
        with semaphore:
            with inside.get_lock():
                inside.value += 1
                most.value = max(most.value, inside.value)
            time.sleep(0.002)
            with inside.get_lock():
                inside.value -= 1


def run(target, *args):
    processes = [mp.Process(target=target, args=args) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    return processes


def join(processes):
    for process in processes:
        process.join()


def show_event():
    event = mp.Event()
    ready = mp.Semaphore(0)
    released = mp.Value("i", 0)
    processes = run(wait, event, ready, released)
    for _ in processes:
        ready.acquire()
    print(f"before the event {released.value} of {PROCESSES} processes have gone on")
    event.set()
    join(processes)
    print(f"after the event {released.value} of {PROCESSES} processes have gone on")


def show_semaphore():
    semaphore = mp.Semaphore(2)
    inside = mp.Value("i", 0)
    most = mp.Value("i", 0)
    join(run(visit, semaphore, inside, most))
    print(f"{PROCESSES * VISITS} visits, never more than {most.value} at once")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    show_event()
    show_semaphore()
