#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Use an installed libramet as a stranger would: its headers, its pkg-config file, both libraries.

Usage: check_install.py PREFIX EXAMPLE.c
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CC = shlex.split(os.environ.get("CC", "cc"))
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def run(*command, **options):
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, text=True, **options)


def pkg_config(prefix, *options):
    (folder,) = prefix.rglob("pkgconfig")
    env = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    out = run("pkg-config", *options, "ramet", env=env, stdout=subprocess.PIPE).stdout
    return shlex.split(out)


def check_headers(include):
    """Each header alone, and in C++ too where there is a compiler for it."""
    for header in sorted((include / "ramet").glob("*.h")):
        run(*CC, *STRICT, "-std=c11", "-I", include, "-fsyntax-only", "-x", "c", header)
        if shutil.which("c++"):
            run("c++", *STRICT, "-std=c++17", "-I", include, "-fsyntax-only", "-x", "c++", header)


def main():
    prefix, example = map(Path, sys.argv[1:])
    include = prefix / "include"
    check_headers(include)
    (library,) = prefix.rglob("libramet.so")
    dynamic, static = prefix / "dynamic", prefix / "static"
    run(*CC, example, "-o", dynamic, *pkg_config(prefix, "--cflags", "--libs"))
    run(dynamic, env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})
    run(*CC, example, "-o", static, "-I", include, library.with_suffix(".a"), "-pthread")
    run(static)


if __name__ == "__main__":
    sys.exit(main())
