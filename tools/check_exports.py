#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hold what libramet.so exports against what the public headers declare with RAMET_API.

Usage: check_exports.py LIBRARY HEADER...
"""

import re
import subprocess
import sys

DECLARATION = re.compile(r"\bRAMET_API\b[^;{]*?\b(ramet_\w+)\s*(?:\(|;|\[)", re.S)


def exported(library):
    out = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", library],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = set()
    for line in out.splitlines():
        name, kind = line.split()[:2]
        if kind != "A":  # the version node itself
            names.add(name.partition("@")[0])
    return names


def declared(headers):
    names = set()
    for header in headers:
        with open(header, encoding="utf-8") as file:
            text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        names.update(DECLARATION.findall(text))
    return names


def main():
    library, *headers = sys.argv[1:]
    out, want = exported(library), declared(headers)
    for name in sorted(out - want):
        print(f"exported, but declared with RAMET_API in no public header: {name}")
    for name in sorted(want - out):
        print(f"declared with RAMET_API, but not exported: {name}")
    print(f"{len(out & want)} public functions exported")
    return 1 if out != want else 0


if __name__ == "__main__":
    sys.exit(main())
