# SPDX-License-Identifier: MIT
"""A program with children and a pool, which is to be killed: nothing must be left."""

import time

from better import main


def sleep(lock):
    with lock:
        time.sleep(600)


def program(mp):
    mp.Process(target=sleep, args=(mp.Lock(),), daemon=True).start()
    with mp.Pool(2) as pool:
        pool.apply(abs, (1,))
        print("working", flush=True)
        pool.map(time.sleep, [600] * 10)


if __name__ == "__main__":
    main(program)
