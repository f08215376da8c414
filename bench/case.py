# SPDX-License-Identifier: MIT
"""What a case of the benchmark is: a function of a package and a count, registered by name."""

import dataclasses
import importlib
from collections.abc import Callable

MODULES = ("bench_queue", "bench_pipe", "bench_lock", "bench_pool", "bench_process")


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of the table.

    function(mp, count) takes a context of either package, does its operation count times, and
    returns the seconds that took, without what it needed to get ready.
    """

    name: str
    function: Callable[[object, int], float]
    count: int
    method: str


cases: dict[str, Case] = {}


def case(name, count, method="fork"):
    """Register a function as a case; the count is one that takes some tenths of a second."""

    def register(function):
        cases[name] = Case(name, function, count, method)
        return function

    return register


def load():
    """All cases by name, in the order of the table."""
    for module in MODULES:
        importlib.import_module(module)
    return cases
