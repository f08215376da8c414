# SPDX-License-Identifier: MIT
"""Measure one case with one package in this process: python bench/measure.py PACKAGE COUNT CASE.

A process of its own for each measurement, so that none inherits the threads, servers and memory of
another. Prints the seconds for one operation.
"""

import importlib
import sys

from case import load


def main(package, count, name):
    case = load()[name]
    context = importlib.import_module(package).get_context(case.method)
    print(case.function(context, count) / count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
