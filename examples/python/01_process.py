# SPDX-License-Identifier: MIT
"""Start a process, wait for it, and see how it ended.

    python examples/python/01_process.py [fork|spawn|forkserver]

The child is a process of its own, and leaves an exit code.
"""

import sys

import ramet as mp


def count(name, lines):
    for line in range(1, lines + 1):
        print(f"{name}: line {line} of {lines}")


def main():
    process = mp.Process(target=count, args=("child", 3))
    process.start()
    process.join()
    print(f"the child ended with exit code {process.exitcode}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
