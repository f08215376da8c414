# SPDX-License-Identifier: MIT
"""What the tests of the manual read out of a page (mdoc source) and out of the public headers."""

import re
from pathlib import Path

SECTION = re.compile(r"^\.Sh\s+(.*)$")
DISPLAY = re.compile(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", re.M | re.S)
DECLARATION = re.compile(r"\bRAMET_API\b\s*([^;{]*?)\b(ramet_\w+)\s*\(([^;]*)\)\s*;", re.S)


def squeeze(text: str) -> str:
    """C without what does not matter: comments, and spaces that separate nothing."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\s*([^\w\s])\s*", r"\1", text)


def plain(text: str) -> str:
    """The text of a literal display, its escapes undone."""
    for escape, character in ((r"\&", ""), (r"\-", "-"), (r"\(aq", "'"), (r"\e", "\\")):
        text = text.replace(escape, character)
    return text


class Page:
    """One hand-written page."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        self.source = path.read_text(encoding="utf-8")
        self.sections: dict[str, str] = {}
        section = None
        for line in self.source.splitlines(keepends=True):
            if match := SECTION.match(line):
                section = match[1].strip().strip('"')
                self.sections[section] = ""
            elif section is not None:
                self.sections[section] += line

    def names(self) -> list[str]:
        return re.findall(r"^\.Nm\s+(\S+)", self.sections["NAME"], re.M)

    def functions(self) -> dict[str, str]:
        """The prototypes in SYNOPSIS, by name, squeezed."""
        found = {}
        pattern = re.compile(r"^\.Ft (.*)\n\.Fo (\w+)\n((?:\.Fa .*\n)*)\.Fc$", re.M)
        for result, name, lines in pattern.findall(self.sections["SYNOPSIS"]):
            arguments = re.findall(r'^\.Fa "?(.*?)"?$', lines, re.M)
            found[name] = squeeze(f"{result.strip(chr(34))} {name}({', '.join(arguments)})")
        return found

    def displays(self, section: str) -> list[str]:
        return DISPLAY.findall(self.sections.get(section, ""))

    def errors(self) -> list[str]:
        return re.findall(r"^\.It Bq Er (\S+)", self.sections.get("ERRORS", ""), re.M)

    def references(self) -> list[tuple[str, str]]:
        """The pages to which it refers."""
        return re.findall(r"^\.Xr (\S+) (\d)", self.source, re.M)


def pages(folder: Path) -> dict[str, Page]:
    return {path.stem: Page(path) for path in sorted(folder.glob("*.[37]"))}


def declared(headers: list[Path]) -> dict[str, str]:
    """The public functions' prototypes, by name, squeezed."""
    found = {}
    for header in headers:
        text = re.sub(r"/\*.*?\*/", " ", header.read_text(encoding="utf-8"), flags=re.S)
        for result, name, arguments in DECLARATION.findall(text):
            found[name] = squeeze(f"{result} {name}({arguments})")
    return found
