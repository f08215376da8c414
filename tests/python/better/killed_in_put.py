# SPDX-License-Identifier: MIT
"""A process that is killed inside `put()` blocks nobody, and leaves no half of an item."""

from better import main, until_it_waits

ITEM = bytes(1_000_000)


def produce(queue, up):
    up.set()
    for _ in range(3):
        queue.put(ITEM)


def program(mp):
    for make in (mp.SimpleQueue, lambda: mp.Queue(1)):
        queue, up = make(), mp.Event()
        process = mp.Process(target=produce, args=(queue, up))
        process.start()
        up.wait()
        until_it_waits(process)
        process.kill()
        process.join()
        while not queue.empty():
            assert queue.get() == ITEM
        queue.put("of a process that is alive")
        assert queue.get() == "of a process that is alive"


if __name__ == "__main__":
    main(program)
