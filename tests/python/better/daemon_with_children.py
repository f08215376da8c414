# SPDX-License-Identifier: MIT
"""Workers of pools and daemonic processes may have children and pools of their own."""

import importlib
import sys

from better import main


def square(number):
    return number * number


def inner(number):
    mp = importlib.import_module(sys.argv[1])
    with mp.Pool(2) as pool:
        return sum(pool.map(square, range(number)))


def start_another(queue):
    mp = importlib.import_module(sys.argv[1])
    process = mp.Process(target=queue.put, args=("from a grandchild",), daemon=False)
    process.start()
    process.join()


def program(mp):
    with mp.Pool(2) as pool:
        assert pool.map(inner, range(1, 6)) == [0, 1, 5, 14, 30]
    queue = mp.Queue()
    process = mp.Process(target=start_another, args=(queue,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert queue.get() == "from a grandchild"


if __name__ == "__main__":
    main(program)
