# SPDX-License-Identifier: MIT
"""A pool at work, which is to be interrupted as by ^C: it ends at once, with one traceback."""

import os
import time

from better import main


def busy(_):
    os.write(1, b"busy\n")
    time.sleep(600)


def program(mp):
    with mp.Pool(4) as pool:
        pool.map(busy, range(100), chunksize=1)


if __name__ == "__main__":
    main(program)
