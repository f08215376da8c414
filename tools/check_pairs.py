#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The labels of memory orders: /* pairs-with: NAME (release) */ at a store, (acquire) at a load.

Each label in src/ has both ends, and docs/architecture.md lists the same labels, no other.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LABEL = re.compile(r"pairs-with:\s+(?:\*\s+)?([\w.]+)\s+(?:\*\s+)?\((release|acquire)\)")
LISTED = re.compile(r"^\| `([\w.]+)` \|", re.M)


def main():
    ends = {}
    found = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        text = path.read_text(encoding="utf-8")
        labels = LABEL.findall(text)
        if len(labels) != text.count("pairs-with:"):
            found.append(f"{path.relative_to(ROOT)}: a label is not NAME (release) or (acquire)")
        for name, end in labels:
            ends.setdefault(name, set()).add(end)
    for name, have in sorted(ends.items()):
        for end in sorted({"release", "acquire"} - have):
            found.append(f"{name}: no end is labelled ({end})")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(LISTED.findall(page.partition("\n## Memory orders\n")[2].partition("\n## ")[0]))
    for name in sorted(listed ^ set(ends)):
        where = "docs/architecture.md" if name in listed else "src/"
        found.append(f"{name}: stands in {where} only")
    print("\n".join(found) or f"{len(ends)} pairs of memory orders, each labelled at both ends")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
