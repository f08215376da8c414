# SPDX-License-Identifier: MIT
"""What the programs of this folder share: which module to use, and how they say how it went.

Each does one thing that users expect to work and the standard library does not do:

    python PROGRAM.py ramet spawn               prints "good"
    python PROGRAM.py multiprocessing spawn     fails, or never ends

Before it does what may never end, a program prints "begun".
"""

import contextlib
import importlib
import pathlib
import sys
import time


def main(program):
    """Run the program with the module and by the start method that the command line names."""
    mp = importlib.import_module(sys.argv[1])
    mp.set_start_method(sys.argv[2])
    print("begun", flush=True)
    program(mp)
    print("good", flush=True)


def until_it_waits(process):
    """Return when each thread of a process has been asleep for a while, or it has ended."""
    looks = 0
    while looks < 10 and process.is_alive():
        states = set()
        with contextlib.suppress(OSError):
            for thread in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
                states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
        looks = looks + 1 if states == {"S"} else 0
        time.sleep(0.02)
