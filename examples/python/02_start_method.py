# SPDX-License-Identifier: MIT
"""Choose how processes start: once a program, or each time with force.

    python examples/python/02_start_method.py [fork|spawn|forkserver]

fork copies the running process, spawn starts a new interpreter, and forkserver forks from a clean
server process. Libraries that must not disturb the program's choice use get_context() instead.
"""

import sys

import ramet as mp


def report():
    print(f"a child was started with {mp.get_start_method()}")


def start_one():
    process = mp.Process(target=report)
    process.start()
    process.join()


def main(method):
    mp.set_start_method(method)
    start_one()

    try:
        mp.set_start_method(method)
    except RuntimeError as error:
        print(f"a second call is an error: {error}")

    for other in sorted(mp.get_all_start_methods()):
        if other != method:
            mp.set_start_method(other, force=True)
            start_one()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "spawn")
