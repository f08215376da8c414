# SPDX-License-Identifier: MIT
"""Four worker processes apply a function to many items.

    python examples/python/07_pool.py [fork|spawn|forkserver]

The pool chooses how many items a worker takes at a time; chunksize says it by hand.
"""

import sys

import ramet as mp


def square(number):
    return number * number


def main():
    with mp.Pool(4) as pool:
        print(pool.map(square, range(10)))
        print(sum(pool.map(square, range(1000), chunksize=5)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
