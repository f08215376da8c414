# SPDX-License-Identifier: MIT
"""`imap` over an endless generator reads no more of it than is needed while the results wait."""

import time

from better import main

BOUND = 10_000


def program(mp):
    read = 0

    def numbers():
        nonlocal read
        while True:
            read += 1
            yield read

    with mp.Pool(2) as pool:
        results = pool.imap(abs, numbers())
        for number in range(1, 11):
            assert next(results) == number
        before = -1
        while read != before:  # until nothing more is read
            before = read
            time.sleep(0.5)
            assert read < BOUND, "more and more is read"


if __name__ == "__main__":
    main(program)
