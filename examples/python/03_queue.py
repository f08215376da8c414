# SPDX-License-Identifier: MIT
"""A producer puts five numbers into a queue, a consumer prints until it is empty.

    python examples/python/03_queue.py [fork|spawn|forkserver]

What a process has put stays in the queue after the process has ended.
"""

import sys

import ramet as mp


def produce(queue):
    for number in range(5):
        queue.put(number)
        print(f"put {number}")


def consume(queue):
    while not queue.empty():
        print(f"got {queue.get()}")
    print("the queue is empty")


def main():
    queue = mp.Queue()
    for function in (produce, consume):
        process = mp.Process(target=function, args=(queue,))
        process.start()
        process.join()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
