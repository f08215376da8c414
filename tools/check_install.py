#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Use an installed libramet as a stranger would, who has its prefix and pkg-config and no more.

Usage: check_install.py PREFIX COMPILER...

With each C compiler, from a folder elsewhere: every header by itself and in any order, in C++ too
where the compiler has a sibling for it; a program with the shared and with the static library; that
all sources of the version agree.  Once: the names' version nodes, and the manual by man(1).
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SIBLINGS = {"cc": "c++", "gcc": "g++", "clang": "clang++"}
FUNCTION = re.compile(r"\bRAMET_API\b[^;{]*?\b(ramet_\w+)\s*\(", re.S)

# C and C++ alike.  Its argument is the version that pkg-config tells.
PROGRAM = r"""
#include <ramet/ramet.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char version[40];
    snprintf(version, sizeof version, "%d.%d.%d", RAMET_VERSION_MAJOR, RAMET_VERSION_MINOR,
             RAMET_VERSION_PATCH);
    if (argc != 2 || strcmp(version, argv[1]) != 0 || strcmp(version, RAMET_VERSION) != 0 ||
        strcmp(version, ramet_version()) != 0)
        return 2;
    ramet_queue *queue;
    if (ramet_queue_create(NULL, &queue) < 0)
        return 3;
    pid_t pid = fork();
    if (pid == 0)
        _exit(ramet_queue_put(queue, "hello", 6, NULL) < 0);
    ramet_item item;
    if (pid < 0 || ramet_queue_get(queue, NULL, &item) < 0)
        return 4;
    int same = item.size == 6 && memcmp(item.data, "hello", 6) == 0;
    ramet_item_release(&item);
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0 || ramet_reap(pid) < 0)
        return 5;
    ramet_queue_close(queue);
    return same ? 0 : 6;
}
"""


def run(*command, **options):
    words = [str(word) for word in command]
    print(shlex.join(words), flush=True)
    return subprocess.run(words, check=True, text=True, **options)


def pkg_config(prefix, *options):
    (folder,) = prefix.rglob("pkgconfig")
    env = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    out = run("pkg-config", *options, "ramet", env=env, stdout=subprocess.PIPE).stdout
    return shlex.split(out)


def check_headers(compiler, language, standard, prefix, folder):
    """Each header alone and twice, and all of them from the last to the first."""
    flags = [*compiler, *STRICT, f"-std={standard}", *pkg_config(prefix, "--cflags")]
    names = sorted(header.name for header in (prefix / "include" / "ramet").glob("*.h"))
    for order in [[name, name] for name in names] + [names[::-1]]:
        unit = folder / "headers.c"
        unit.write_text("".join(f"#include <ramet/{name}>\n" for name in order))
        subprocess.run([*flags, "-fsyntax-only", "-x", language, unit], check=True)
    print(f"{len(names)} headers, {language} by {shlex.join(compiler)}", flush=True)


def check_program(compiler, language, standard, prefix, folder):
    source = folder / "program.c"
    source.write_text(PROGRAM)
    (library,) = prefix.rglob("libramet.so")
    env = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    (version,) = pkg_config(prefix, "--modversion")
    start = [*compiler, *STRICT, f"-std={standard}", "-D_GNU_SOURCE", "-x", language, source]
    start += ["-x", "none", "-o", folder / "program"]
    run(*start, *pkg_config(prefix, "--cflags", "--libs"))
    run(folder / "program", version, env=env)
    run(*start, "-static", *pkg_config(prefix, "--static", "--cflags", "--libs"))
    run(folder / "program", version)


def check_versions_of_names(prefix):
    (library,) = prefix.rglob("libramet.so")
    out = run("nm", "--dynamic", "--defined-only", library, stdout=subprocess.PIPE).stdout
    names = [line.split()[2] for line in out.splitlines() if line.split()[1] != "A"]
    plain = [name for name in names if not re.fullmatch(r"ramet_\w+@@RAMET_\d+", name)]
    if plain or not names:
        sys.exit(f"exported without a version node: {plain or 'nothing at all'}")


def check_manual(prefix):
    (manual,) = prefix.glob("share/man")
    functions = set()
    for header in (prefix / "include" / "ramet").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
        functions.update(FUNCTION.findall(text))
    missing = [
        name
        for name in sorted(functions)
        if subprocess.run(
            ["man", "-M", manual, "-w", name], capture_output=True, stdin=subprocess.DEVNULL
        ).returncode
    ]
    if missing or not functions:
        sys.exit(f"man does not find: {missing}")
    text = run("man", "-M", manual, "ramet_queue_put", stdout=subprocess.PIPE).stdout
    if "ramet_queue_put" not in text:
        sys.exit("man shows another page for ramet_queue_put")


def main():
    prefix = Path(sys.argv[1]).resolve()
    check_versions_of_names(prefix)
    if shutil.which("man"):
        check_manual(prefix)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for compiler in map(shlex.split, sys.argv[2:]):
            check_headers(compiler, "c", "c11", prefix, folder)
            check_program(compiler, "c", "c11", prefix, folder)
            plus = SIBLINGS.get(compiler[0])
            if plus and shutil.which(plus):
                sibling = [plus, *compiler[1:]]
                check_headers(sibling, "c++", "c++17", prefix, folder)
                check_program(sibling, "c++", "c++17", prefix, folder)


if __name__ == "__main__":
    sys.exit(main())
