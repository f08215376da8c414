#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Show that no seeded bug is in what is released.

    tests/seeded/check_none.py COMPILER LIBRARY

In each file of src/ that mentions RMT_SEEDED the parts between `#if RMT_SEEDED(...)` and `#endif`
are taken out by hand; what the compiler's preprocessor makes of the file must be the same as
without that, word for word.  And LIBRARY, built from the sources as they are, names no seed.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN = re.compile(r"#if (!?)RMT_SEEDED\((\w+)\)")


def without_seeds(path: Path) -> str:
    """The text of the file with only what is compiled where there is no seed."""
    lines, keep, depth = [], True, 0
    for line in path.read_text().splitlines():
        begin = BEGIN.fullmatch(line)
        if begin:
            assert depth == 0, f"{path}: seeds within seeds"
            keep, depth = begin[1] == "!", 1
        elif depth and line == "#else":
            keep = not keep
        elif depth and line.startswith("#endif"):
            keep, depth = True, 0
        else:
            assert "RMT_SEEDED" not in line, f"{path}: a seed that is not on a line of its own"
            if keep and "base/seeded.h" not in line:
                lines.append(line)
    return "\n".join(lines) + "\n"


def words(compiler: list[str], text: str, name: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text)
        command = [*compiler, "-std=c11", "-D_GNU_SOURCE", "-E", "-P", str(path)]
        command += [f"-I{ROOT / 'src'}", f"-I{ROOT / 'include'}"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def main() -> int:
    compiler, library = shlex.split(sys.argv[1]), Path(sys.argv[2])
    paths = [path for path in sorted((ROOT / "src").rglob("*.c")) if "RMT_SEED" in path.read_text()]
    assert len(paths) >= 5, "where are the seeds?"
    for path in paths:
        assert words(compiler, path.read_text(), path.name) == words(
            compiler, without_seeds(path), path.name
        ), f"{path}: a seed is in the normal build"
    assert b"seeded" not in library.read_bytes().lower(), f"{library} names a seed"
    print(f"{len(paths)} files with seeds: none is in {library.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
