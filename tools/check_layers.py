#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules about who includes what, which no compiler checks.

- A file in src/<layer> includes headers of its own layer, of those under it, and public ones.
- Only src/base/atomic.h, and what measures the machine, include <stdatomic.h>.
- A public header includes only public headers and the C library's.
- No source file is longer than 600 lines; those over 350 are named for information.
- Each C file and public header stands in a list of the nearest meson.build.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["base", "arena", "sync", "channel", "process", "pool"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
LONG, TOO_LONG = 350, 600


def includes(path):
    return [name for _, name in INCLUDE.findall(path.read_text(encoding="utf-8"))]


def layer_errors(path):
    own = path.relative_to(ROOT / "src").parts[0]
    for name in includes(path):
        top = name.split("/")[0]
        if "/" not in name and name.endswith(".h") and (path.parent / name).exists():
            yield f'include "{own}/{name}" by its full name, not "{name}"'
        elif top in LAYERS and LAYERS.index(top) > LAYERS.index(own):
            yield f"includes {name}, which is above {own}"
        elif name.startswith("..") or top == "python":
            yield f"includes {name}"


def public_errors(path):
    for name in includes(path):
        if "/" in name and name.split("/")[0] not in ("ramet", "sys", "linux"):
            yield f"is public and includes {name}"


def is_listed(path):
    """Whether the nearest meson.build has the file, as a file or as a program or test."""
    listing = next(up / "meson.build" for up in path.parents if (up / "meson.build").exists())
    text = listing.read_text(encoding="utf-8")
    names = (str(path.relative_to(listing.parent)), path.stem, path.stem.partition("_")[2])
    return any(f"'{name}'" in text for name in names)


def errors(path):
    relative = path.relative_to(ROOT)
    if (path.suffix == ".c" or relative.parts[0] == "include") and not is_listed(path):
        yield "stands in no list of the nearest meson.build"
    if relative.parts[0] == "src":
        yield from layer_errors(path)
    if relative.parts[0] == "include":
        yield from public_errors(path)
    measures = relative.parts[0] == "bench"  # the machine's own limits, beside ramet
    if "stdatomic.h" in includes(path) and not measures and str(relative) != "src/base/atomic.h":
        yield "includes <stdatomic.h>; only src/base/atomic.h does"


def main():
    tops = ["include", "src", "python/ext", "tests", "bench", "examples/c"]
    c_files = [p for top in tops for p in sorted((ROOT / top).rglob("*.[ch]"))]
    python_files = [
        p for top in ("python/ramet", "tools") for p in sorted((ROOT / top).glob("*.py"))
    ]
    found = [f"{path.relative_to(ROOT)}: {error}" for path in c_files for error in errors(path)]
    for path in c_files + python_files:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > TOO_LONG:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines; split it by concept")
        elif lines > LONG:
            print(f"{path.relative_to(ROOT)}: {lines} lines")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
