# SPDX-License-Identifier: MIT
"""libramet beside the limits of the machine: the second table of make bench.

The programs are bench/c/bench_<noun>.c; each takes the subjects of a case in turn, round after
round.  A line holds ramet against one of them: the medians of both, the median over the rounds of
the ratio (below 1: ramet is quicker) with its spread, the ratio of their best rounds, which are the
nearest to what a machine with nothing else to do would show, and the most that the ratio is meant
to be.
"""

import dataclasses
import fcntl
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

from report import duration

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
NOUNS = ("lock", "queue", "wake", "memory", "pool", "process", "scale")
HEADINGS = ("", "ramet", "against", "", "ratio", "min..max", "best", "wanted", "")
WIDTHS = (38, 8, -30, 8, 6, 15, 6, 8, 0)
WATCHDOG = 600


@dataclasses.dataclass(frozen=True)
class Pair:
    """ramet and one subject of a case: nanoseconds for one operation, in each round."""

    case: str
    subject: str
    most: float
    ramet: list[float]
    other: list[float]

    @property
    def ratios(self):
        return [ours / theirs for ours, theirs in zip(self.ramet, self.other, strict=True)]

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    @property
    def best(self):
        return min(self.ramet) / min(self.other)

    @property
    def missed(self):
        return self.most > 0 and self.ratio > self.most

    def cells(self):
        return (
            self.case,
            duration(statistics.median(self.ramet) * 1e-9),
            self.subject,
            duration(statistics.median(self.other) * 1e-9),
            f"{self.ratio:.3g}",
            f"{min(self.ratios):.2g}..{max(self.ratios):.2g}",
            f"{self.best:.2g}",
            f"<= {self.most:.3g}" if self.most else "",
            "MISSED" if self.missed else "",
        )

    def record(self):
        return {**dataclasses.asdict(self), "ratio": self.ratio, "missed": self.missed}


def row(cells):
    columns = (
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, width in zip(cells[1:], WIDTHS[1:], strict=True)
    )
    return " ".join([f"{cells[0]:{WIDTHS[0]}}", *columns]).rstrip()


def build():
    """The folder with the programs, up to date with the sources; None, with a line, if it fails."""
    meson = shutil.which("meson")
    if meson is None:
        print("the C benchmarks are left out: no meson")
        return None
    options = ["--buildtype=release", "-Dbench=true", "-Dtests=false", "-Dexamples=false"]
    options.append("-Dwerror=false")  # a user's compiler may know warnings that ours does not
    commands = [["ninja", "--quiet", "-C", str(BUILD)]]
    if not (BUILD / "build.ninja").exists():
        commands.insert(0, [meson, "setup", str(BUILD), str(ROOT), *options])
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD.parent / "lock-bench", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building it
        for command in commands:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode:
                print(f"the C benchmarks are left out: {command[0]} failed\n{done.stdout}")
                return None
    return BUILD / "bench"


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    return done.stdout.splitlines()


def parse(case, lines):
    """The pairs of a case from what its program printed, and the names of skipped subjects."""
    pairs, skipped, ramet = [], [], None
    for line in lines:
        name, most, *figures = line.split("\t")
        if figures == ["skipped"]:
            skipped.append(name)
        elif ramet is None:
            ramet = [float(each) for each in figures]
        else:
            other = [float(each) for each in figures]
            pairs.append(Pair(case, name, float(most), ramet, other))
    return pairs, skipped


def programs(folder, only):
    """(program, case) for all cases of which a name is given a part; all of them if none is."""
    for noun in NOUNS:
        program = folder / f"bench_{noun}"
        for case in output(program):
            if not only or any(part.lower() in case.lower() for part in only):
                yield program, case


def table(rounds, quick, only):
    """Print the table; all of its pairs."""
    folder = build()
    pairs = []
    found = list(programs(folder, only)) if folder else []
    if found:
        load = f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} processors"
        print(f"\nlibramet beside the limits of the machine, {rounds} rounds, {load}\n")
        print(row(HEADINGS), flush=True)
    for program, case in found:
        lines = output(program, case, str(rounds), "10" if quick else "100")
        these, skipped = parse(case, lines)
        pairs += these
        for number, pair in enumerate(these):
            cells = pair.cells()
            print(row(cells if number == 0 else ("", "", *cells[2:])))
        for name in skipped:
            print(f"{'':{WIDTHS[0]}} {'':{WIDTHS[1]}} {name}: skipped, this machine has none")
        sys.stdout.flush()
    return pairs
