#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lint the pages of the manual: with mandoc, or where that is missing with groff.

Usage: check_lint.py PAGE...
"""

import shutil
import subprocess
import sys

IGNORED = (
    # Pages need not be installed; check_pages.py looks at the references to ours.
    "referenced manual not found",
    # A rule of NetBSD for its own pages.  Without a name groff would call ours those of BSD.
    "operating system explicitly specified",
)


def complaints(command: list[str], page: str) -> list[str]:
    run = subprocess.run([*command, page], capture_output=True, text=True, errors="replace")
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if page in line and not any(text in line for text in IGNORED)]


def main() -> int:
    if shutil.which("mandoc"):
        command = ["mandoc", "-T", "lint"]
    elif shutil.which("groff"):
        command = ["groff", "-ww", "-mandoc", "-z", "-T", "utf8"]
    else:
        print("neither mandoc nor groff found: install the Debian package mandoc")
        return 77
    found = [line for page in sys.argv[1:] for line in complaints(command, page)]
    for line in found:
        print(line)
    print(f"{command[0]}: {len(sys.argv) - 1} pages, {len(found)} complaints")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
