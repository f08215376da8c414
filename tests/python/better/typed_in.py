# SPDX-License-Identifier: MIT
"""Functions that were typed in, given to a process and a pool: to be run by `python -c`.

There no process that is started afresh finds them by their names, as at a prompt or in a notebook.
"""

import functools
import importlib
import sys

mp = importlib.import_module(sys.argv[1])
mp.set_start_method(sys.argv[2])
factor = 3


def times(number):
    return factor * number


class Adder:
    def __init__(self, step):
        self.step = step

    def __call__(self, number):
        return times(number) + self.step


def put_times(queue, number):
    queue.put(times(number))


print("begun", flush=True)
queue = mp.Queue()
process = mp.Process(target=put_times, args=(queue, 5))
process.start()
process.join()
assert process.exitcode == 0
assert queue.get() == 15
with mp.Pool(2) as pool:
    assert pool.map(times, range(3)) == [0, 3, 6]
    assert pool.map(functools.partial(times), range(3)) == [0, 3, 6]
    assert list(pool.imap(Adder(1), range(3))) == [1, 4, 7]
    assert pool.apply(times, (5,)) == 15
print("good", flush=True)
