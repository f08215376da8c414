# SPDX-License-Identifier: MIT
"""Four processes add 100,000 each to one number, under a lock: not one addition is lost.

    python examples/python/05_value.py [fork|spawn|forkserver]

The addition reads the number and then writes it; the lock keeps others out in between.
"""

import sys

import ramet as mp

PROCESSES = 4
ADDITIONS = 100_000


def add(counter, lock):
    for _ in range(ADDITIONS):
        with lock:
            counter.value += 1


def main():
    counter = mp.Value("i", 0)
    lock = mp.Lock()
    processes = [mp.Process(target=add, args=(counter, lock)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(f"{PROCESSES} processes added {ADDITIONS} each: {counter.value}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
