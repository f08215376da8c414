# SPDX-License-Identifier: MIT
"""A pool whose worker is killed, as when memory runs out, fails that task and goes on."""

import os
import signal

from better import main


def task(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def program(mp):
    with mp.Pool(2) as pool:
        results = [pool.apply_async(task, (number,)) for number in range(20)]
        for number, result in enumerate(results):
            try:
                assert result.get() == number * number
            except RuntimeError as error:
                assert number == 7
                assert "SIGKILL" in str(error) and "memory" in str(error), error
            else:
                assert number != 7
        assert pool.map(task, range(5)) == [0, 1, 4, 9, 16]


if __name__ == "__main__":
    main(program)
