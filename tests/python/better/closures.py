# SPDX-License-Identifier: MIT
"""Lambdas and local functions can be given to processes and pools, under every start method."""

from better import main


def program(mp):
    step = 5
    queue = mp.Queue()
    process = mp.Process(target=lambda: queue.put(step))
    process.start()
    process.join()
    assert queue.get() == 5
    with mp.Pool(2) as pool:
        assert pool.map(lambda number: number + step, range(3)) == [5, 6, 7]


if __name__ == "__main__":
    main(program)
