# SPDX-License-Identifier: MIT
"""`python -m ramet`: run a program with ramet in the place of `multiprocessing`."""

from ramet.replace import main

main()
