# SPDX-License-Identifier: MIT
"""Parent and child talk over a pipe, in both directions, until one side closes it.

    python examples/python/04_pipe.py [fork|spawn|forkserver]

A process that dies has closed its side as well, whatever killed it.
"""

import sys

import ramet as mp


def answer(connection):
    """Send the square of each number that arrives; None is the request to stop."""
    while (number := connection.recv()) is not None:
        connection.send(number * number)
    connection.close()


def main():
    ours, theirs = mp.Pipe()
    process = mp.Process(target=answer, args=(theirs,))
    process.start()
    # The child has its own handle of that end. Only when every handle of it is closed does our
    # end see the end of file, so this one must go.
    theirs.close()

    for number in (2, 3, 4):
        ours.send(number)
        print(f"{number} squared is {ours.recv()}")
    ours.send(None)
    try:
        ours.recv()
    except EOFError:
        print("end of file: the child has closed its side")
    process.join()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
