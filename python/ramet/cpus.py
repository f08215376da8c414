# SPDX-License-Identifier: MIT
"""How many processors this process may use.

Not how many the machine has: a process may be bound to some of them (its affinity), and the control
groups that it is in may grant it the time of fewer. Reads what the kernel says, each time, since
both may change; may touch nothing.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_count"]


def cpu_count() -> int:
    """Return the number of processors that this process may use.

    That is the least of the machine's, those of its affinity, and the limits of its control groups,
    rounded up. From Python 3.13 on `-X cpu_count` and PYTHON_CPU_COUNT have the last word.
    """
    if _is_told():
        return os.process_cpu_count() or 1  # type: ignore[attr-defined,unused-ignore]
    try:
        count = len(os.sched_getaffinity(0))
    except OSError:  # more processors than the C library knows of
        count = os.cpu_count() or 1
    return max(1, math.ceil(min(count, group_limit())))


def _is_told() -> bool:
    """Whether the user has told the interpreter how many there are."""
    if sys.version_info < (3, 13):
        return False
    told = sys._xoptions.get("cpu_count")
    if told is None and not sys.flags.ignore_environment:
        told = os.environ.get("PYTHON_CPU_COUNT")
    return told not in (None, "", "default")


# ------------------------------------------------------------------------------- control groups


def group_limit(root: str = "/") -> float:
    """How many processors' time the control groups grant, of both versions; inf without a limit.

    `root`: where `proc` and `sys` are.
    """
    top = Path(root)
    try:
        groups = (top / "proc/self/cgroup").read_text().splitlines()
        mounts = (top / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return math.inf
    limit = math.inf
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            read, mounted = _quota_v2, _mount(mounts, "cgroup2", None)
        elif "cpu" in controllers.split(","):
            read, mounted = _quota_v1, _mount(mounts, "cgroup", "cpu")
        else:
            continue
        if mounted is not None:
            for folder in _folders(top, *mounted, path):
                limit = min(limit, read(folder))
    return limit


def _mount(mounts: list[str], kind: str, controller: str | None) -> tuple[str, str] | None:
    """Where a hierarchy is mounted, and which of its groups is seen there as the uppermost."""
    for line in mounts:
        place, _, rest = line.partition(" - ")
        found, _, options = rest.split(" ", 2)
        if found == kind and (controller is None or controller in options.split(",")):
            uppermost, folder = place.split(" ")[3:5]
            return _plain(folder), _plain(uppermost)
    return None


def _plain(name: str) -> str:
    """A name as it is, from what mountinfo makes of blanks and the like."""
    for code in (" ", "\t", "\n", "\\"):
        name = name.replace(f"\\{ord(code):03o}", code)
    return name


def _folders(top: Path, folder: str, uppermost: str, path: str) -> Iterator[Path]:
    """The folders of a group and of those that it is in, as far as they are to be seen."""
    at = top / folder.lstrip("/")
    below = os.path.relpath(path, uppermost)
    # In a container that sees the names of the machine, its own group is what it has mounted.
    parts = () if below.startswith("..") else Path(below).parts
    yield at
    for part in parts:
        at /= part
        yield at


def _quota_v2(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf  # the uppermost group has no limit, nor has one without the controller


def _quota_v1(folder: Path) -> float:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
