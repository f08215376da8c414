#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hold the manual against the public headers and the library.

Usage: check_pages.py PAGES LINKS LIBRARY HEADER...

PAGES is the folder of the hand-written pages, LINKS that of the generated ones.
"""

import errno
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from page import Page, declared, pages, plain, squeeze

# In this order; LIBRARY may come between NAME and SYNOPSIS.
SECTIONS = [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "RETURN VALUES",
    "PROCESSES AND THREADS",
    "FORK",
    "IF A PARTICIPANT DIES",
    "EXAMPLES",
    "ERRORS",
    "SEE ALSO",
]
# A terminal shows these as something else than what a compiler takes.
CHANGED = re.compile(r"(?<!\\)[-'`^~]")
# Errors that a header explains, though it is other calls that return them.
EXPLAINED = {"ramet_base": {"ESTALE"}, "ramet_cancel": {"ECANCELED"}}

problems: list[str] = []


def problem(where: str, what: str) -> None:
    problems.append(f"{where}: {what}")


def exported(library: Path) -> set[str]:
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", library]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = (line.split() for line in out.splitlines())
    return {name.partition("@")[0] for name, kind, *_ in fields if kind != "A"}


def check_names(manual: dict[str, Page], links: Path, functions: set[str]) -> None:
    """Each function is named by exactly one page, and has a link to it."""
    homes = {name: page.name for page in manual.values() for name in page.names()}
    counts = Counter(name for page in manual.values() for name in page.names())
    for name in sorted(functions):
        if name not in homes:
            problem(name, "no page names it")
            continue
        if counts[name] != 1:
            problem(name, "more than one page names it")
        link = links / f"{name}.3"
        if not link.exists():
            problem(name, "has no link: add it to man/meson.build")
        elif link.read_text() != f".so man3/{homes[name]}.3\n":
            problem(name, f"its link is not to {homes[name]}(3)")
    for link in sorted(links.glob("*.3")):
        if link.stem not in functions:
            problem(link.name, "a link of what is no function of the library")
    for name in sorted(set(homes) - functions - {"ramet"}):
        problem(homes[name], f"names {name}, which is no function of the library")


def check_page(page: Page, prototypes: dict[str, str], text: str, in_header: set[str]) -> None:
    """A page of section 3: its sections, prototypes, types and errors are those of the headers."""
    order = [section for section in page.sections if section != "LIBRARY"]
    if order != SECTIONS:
        problem(page.name, f"its sections are {order}")
        return
    shown = page.functions()
    for name in page.names():
        if shown.get(name) != prototypes.get(name):
            problem(page.name, f"SYNOPSIS has {shown.get(name)}, the header {prototypes.get(name)}")
    for display in page.displays("DESCRIPTION"):
        code = squeeze(plain(display))
        if code.startswith(("typedef", "enum", "#define")) and code not in text:
            problem(page.name, f"not in the headers: {code}")
    for name in page.errors():
        if not hasattr(errno, name):
            problem(page.name, f"ERRORS has {name}, which is no error")
    if not page.errors():
        problem(page.name, "ERRORS names none")
    told = EXPLAINED.get(page.name, set()) | set(page.errors())
    if told != in_header:
        problem(page.name, f"ERRORS and the header differ in {sorted(told ^ in_header)}")
    if len(page.displays("EXAMPLES")) != 1:
        problem(page.name, "EXAMPLES is not one program")
    for display in page.displays("EXAMPLES"):
        for line in display.splitlines():
            if CHANGED.search(line):
                problem(page.name, f"EXAMPLES: write \\-, \\(aq, or do without: {line}")


def check_references(page: Page, manual: dict[str, Page], functions: set[str]) -> None:
    for name, section in page.references():
        ours = name if name in manual else None
        if name in functions:
            problem(page.name, f"refers to the link {name}({section})")
        elif name.startswith("ramet") and (
            not ours or manual[name].path.suffix != f".{section}" or name == page.name
        ):
            problem(page.name, f"refers to {name}({section})")


def main() -> int:
    folder, links, library, *rest = map(Path, sys.argv[1:])
    if not shutil.which("nm"):
        print("nm not found: install the Debian package binutils")
        return 77
    manual = pages(folder)
    prototypes = declared(rest)
    functions = exported(library)
    if functions != set(prototypes):
        problem("headers", f"differ from the library in {functions ^ set(prototypes)}")
    check_names(manual, links, functions)
    text = " ".join(squeeze(header.read_text(encoding="utf-8")) for header in rest)
    for page in manual.values():
        if page.path.suffix == ".3":
            mine = [h for h in rest if f"ramet_{h.stem}" == page.name]
            comments = "".join(header.read_text(encoding="utf-8") for header in mine)
            in_header = set(re.findall(r"-(E[A-Z0-9]{2,})\b", comments))
            check_page(page, prototypes, text, in_header)
        check_references(page, manual, functions)
    for header in rest:
        if header.stem != "ramet" and f"ramet_{header.stem}" not in manual:
            problem(header.name, "has no page")
    for line in problems:
        print(line)
    print(f"{len(manual)} pages, {len(functions)} functions, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
