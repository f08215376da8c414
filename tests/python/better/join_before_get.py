# SPDX-License-Identifier: MIT
"""A child that put a lot, and is joined before anybody reads, ends."""

from better import main


def fill(queue):
    for number in range(100):
        queue.put((number, bytes(10_000)))


def program(mp):
    queue = mp.Queue()
    process = mp.Process(target=fill, args=(queue,))
    process.start()
    process.join()
    assert [queue.get()[0] for _ in range(100)] == list(range(100))


if __name__ == "__main__":
    main(program)
