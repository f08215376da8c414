# SPDX-License-Identifier: MIT
"""What happens without the main guard: this program is wrong, and is told so.

    python examples/python/10_missing_guard.py [fork|spawn|forkserver]

Under spawn and forkserver each worker imports this file, to find square(). Nothing stops the
worker from running the lines below as well, which would start workers of its own, and so on. ramet
refuses: the program ends with one error that says which line to add. Under fork nothing is
imported and the program works, so that the mistake shows only when the start method changes.
"""

import sys

import ramet as mp


def square(number):
    return number * number


# Here should stand: if __name__ == "__main__":
context = mp.get_context(sys.argv[1] if len(sys.argv) > 1 else "spawn")
with context.Pool(4) as pool:
    print(pool.map(square, range(10)))
