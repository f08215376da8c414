# SPDX-License-Identifier: MIT
"""A thousand queues and ten thousand locks do not exhaust descriptors."""

import resource

from better import main


def use(locks, queues):
    for lock in locks:
        with lock:
            pass
    for queue in queues:
        queue.put(queue.get() + 1)


def program(mp):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    locks = [mp.Lock() for _ in range(10_000)]
    queues = [mp.Queue() for _ in range(1_000)]
    for number, queue in enumerate(queues):
        queue.put(number)
    process = mp.Process(target=use, args=(locks, queues))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [queue.get() for queue in queues] == list(range(1, 1_001))


if __name__ == "__main__":
    main(program)
