# SPDX-License-Identifier: MIT
"""What was put is there when `put()` has returned, in whichever process."""

from better import main


def put(queue, done):
    queue.put("from a child")
    done.set()


def look(queue, item):
    assert not queue.empty()
    assert queue.qsize() == 1
    assert queue.get_nowait() == item


def program(mp):
    queue = mp.Queue()
    for number in range(1000):
        queue.put(number)
        look(queue, number)
    done = mp.Event()
    process = mp.Process(target=put, args=(queue, done))
    process.start()
    done.wait()
    look(queue, "from a child")
    process.join()


if __name__ == "__main__":
    main(program)
