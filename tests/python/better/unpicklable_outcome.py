# SPDX-License-Identifier: MIT
"""A result or an exception that does not pickle or unpickle is an error of that task alone."""

from better import main


class NeedsTwo(Exception):
    """Pickled with one argument, as exceptions are, and so not to be made again."""

    def __init__(self, one, two):
        super().__init__(one)


def refuse():
    raise LookupError("not to be had")


class Refuses:
    def __reduce__(self):
        return refuse, ()


def raises(number):
    raise NeedsTwo(number, "more")


def raises_a_lambda(number):
    raise ValueError(lambda: number)


def returns(number):
    return Refuses()


def returns_a_lambda(number):
    return lambda: number


def program(mp):
    with mp.Pool(2) as pool:
        for function in (returns_a_lambda, raises_a_lambda, returns, raises):
            bad = pool.apply_async(function, (3,))
            good = pool.apply_async(abs, (-3,))
            try:
                bad.get()
            except Exception:
                pass
            else:
                raise AssertionError("no error")
            assert good.get() == 3


if __name__ == "__main__":
    main(program)
