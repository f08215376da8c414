# SPDX-License-Identifier: MIT
"""A process that is killed while it waits in `get()` blocks nobody, and takes nothing with it."""

from better import main, until_it_waits


def consume(queue, up):
    up.set()
    queue.get()


def program(mp):
    for queue in (mp.Queue(), mp.SimpleQueue()):
        up = mp.Event()
        process = mp.Process(target=consume, args=(queue, up))
        process.start()
        up.wait()
        until_it_waits(process)
        process.kill()
        process.join()
        queue.put("for whoever is alive")
        assert queue.get() == "for whoever is alive"


if __name__ == "__main__":
    main(program)
