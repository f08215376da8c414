# SPDX-License-Identifier: MIT
"""The arithmetic of the benchmark and its table."""

import dataclasses
import statistics

HEADINGS = ("", "std", "ramet", "ramet/std", "min..max", "std/std", "")
WIDTHS = (38, 10, 10, 10, 13, 13, 0)


@dataclasses.dataclass(frozen=True)
class Round:
    """Seconds for one operation, measured one after the other: std, ramet, std again."""

    std: float
    ramet: float
    again: float

    @property
    def ratio(self):
        """ramet to the mean of the standard library before it and after it."""
        return self.ramet / ((self.std + self.again) / 2)

    @property
    def noise(self):
        """The standard library to itself."""
        return self.again / self.std


@dataclasses.dataclass(frozen=True)
class Line:
    """One case with all of its rounds."""

    name: str
    rounds: list[Round]

    @property
    def ratio(self):
        return statistics.median(each.ratio for each in self.rounds)

    @property
    def slower(self):
        """Whether ramet is slower by more than the standard library ever was than itself."""
        worst = max(max(each.noise, 1 / each.noise) for each in self.rounds)
        return self.ratio > worst

    def cells(self):
        ratios = [each.ratio for each in self.rounds]
        noises = [each.noise for each in self.rounds]
        std = [seconds for each in self.rounds for seconds in (each.std, each.again)]
        return (
            self.name,
            duration(statistics.median(std)),
            duration(statistics.median(each.ramet for each in self.rounds)),
            f"{self.ratio:.3f}",
            f"{min(ratios):.2f}..{max(ratios):.2f}",
            f"{min(noises):.2f}..{max(noises):.2f}",
            "SLOWER" if self.slower else "",
        )

    def record(self):
        """The line for a file: everything that was measured, and what follows from it."""
        rounds = [dataclasses.asdict(each) for each in self.rounds]
        return {"case": self.name, "ratio": self.ratio, "slower": self.slower, "rounds": rounds}


def duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def row(cells):
    first, *others = zip(cells, WIDTHS, strict=True)
    columns = [f"{first[0]:{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
    return " ".join(columns).rstrip()
