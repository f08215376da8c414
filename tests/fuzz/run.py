#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a fuzz target: run.py PROGRAM CORPUS RUNS [SECONDS].

It starts from the committed inputs, with a fixed seed, so that the short form does the same every
time; what it finds goes to a folder that is thrown away, but an input that fails stays, and is
named.
With RAMET_LONG=1 it goes on for SECONDS, on from another seed each time.
"""

import os
import subprocess
import sys
import tempfile


def main() -> int:
    program, corpus, runs, seconds = sys.argv[1:5]
    limit = (
        [f"-max_total_time={seconds}"]
        if os.environ.get("RAMET_LONG")
        else [f"-runs={runs}", "-seed=1"]
    )
    with tempfile.TemporaryDirectory(prefix="ramet-fuzz-") as found:
        options = [
            "-max_len=512",
            "-timeout=600",
            "-rss_limit_mb=0",
            "-verbosity=0",
            "-detect_leaks=0",
        ]
        options += [f"-artifact_prefix={program}-"]
        # What a request leaves in the environment is nobody's to free; tests/fault looks for leaks.
        env = {
            **os.environ,
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        return subprocess.call([program, *options, *limit, found, corpus], env=env)


if __name__ == "__main__":
    sys.exit(main())
