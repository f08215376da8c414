# SPDX-License-Identifier: MIT
"""A process that is killed while it holds a lock blocks nobody."""

import warnings

from better import main


def hold(lock, held):
    lock.acquire()
    held.set()
    while True:
        pass


def program(mp):
    warnings.simplefilter("ignore")  # ramet says who died with it
    for lock in (mp.Lock(), mp.RLock(), mp.Condition()):
        held = mp.Event()
        process = mp.Process(target=hold, args=(lock, held))
        process.start()
        held.wait()
        process.kill()
        process.join()
        with lock:
            pass


if __name__ == "__main__":
    main(program)
