# SPDX-License-Identifier: MIT
"""`imap` over an endless generator reads no more of it than is needed while the results wait."""

import sys
import time

from better import main

BOUND = 10_000


def program(mp):
    read = 0
    patience = float(sys.argv[3]) if sys.argv[3:] else 0.5

    def numbers():
        nonlocal read
        while True:
            read += 1
            yield read

    with mp.Pool(2) as pool:
        results = pool.imap(abs, numbers())
        for number in range(1, 11):
            assert next(results) == number
        before, since = -1, time.monotonic()
        while time.monotonic() < since + patience:  # until nothing more has been read for so long
            if read != before:
                before, since = read, time.monotonic()
            time.sleep(0.05)
            assert read < BOUND, "more and more is read"


if __name__ == "__main__":
    main(program)
