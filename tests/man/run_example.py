#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compile the example of a page as a user would, and run it: it must exit with 0.

Usage: run_example.py PAGE INCLUDE LIBRARY COMPILER [OPTION...]
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from page import Page, plain

WATCHDOG = 120  # seconds


def run(command: list, folder: str) -> int:
    """In a process group of its own, which goes with what it started if it hangs."""
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(WATCHDOG)
    except subprocess.TimeoutExpired:
        print(f"no end after {WATCHDOG} s", flush=True)
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def main() -> int:
    page, include, library = (Path(word).absolute() for word in sys.argv[1:4])
    compiler = sys.argv[4:]
    (display,) = Page(page).displays("EXAMPLES")
    with tempfile.TemporaryDirectory(prefix="ramet-man-") as folder:
        source = Path(folder, f"{page.stem}.c")
        program = Path(folder, page.stem)
        source.write_text(plain(display), encoding="utf-8")
        command = [*compiler, "-Wall", "-Wextra", "-Werror", f"-I{include}", source]
        command += ["-o", program, library, f"-Wl,-rpath,{library.parent}", "-pthread"]
        if subprocess.run(command, cwd=folder).returncode:
            return 1
        code = run([program], folder)
    print(f"{page.name}: exit code {code}")
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
