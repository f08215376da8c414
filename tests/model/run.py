#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the Spin models of this folder: `run.py [--short] [MODEL...]`.

The short form, a part of every `make test`, leaves out the seeded variants and the long runs.

The comment at the top of a model says what to run.  A line
    run: NAME | -D flags | safety or liveness | long, if it is
is a search of the model as it is: it must be complete and find nothing, and each statement of the
model but deaths must be reached in one of its runs, except on lines with a comment "never ...".
    seed: NAME | RUN | assertion, end or acceptance | what is broken
is the same search with -DSEED_NAME: it must find an error of that kind.
"""

import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPTH = 2_000_000
MEMORY_MIB = 1500
LIMIT = 1500  # seconds; a watchdog, the longest search takes some
DEATH = "dead[me] = 1"
CC = os.environ.get("CC", "cc").split()
SIGNS = {  # of the kinds of error, in what pan says
    "assertion": "assertion violated",
    "end": "invalid end state",
    "acceptance": "acceptance cycle",
}


@dataclass
class Search:
    """One search: a run of a model, or a seeded variant of it."""

    model: Path
    name: str
    flags: list[str]
    liveness: bool
    expected: str  # kind of error; "" none
    long: bool


def searches(model: Path) -> list[Search]:
    runs, found = {}, []
    for what, rest in re.findall(r"^ \* (run|seed): (.*)$", model.read_text(), re.MULTILINE):
        fields = [field.strip() for field in rest.split("|")]
        if what == "run":
            name, flags, kind, *long = fields
            runs[name] = Search(model, name, flags.split(), kind == "liveness", "", bool(long))
            found.append(runs[name])
        else:
            name, run, kind, _ = fields
            of = runs[run]
            flags = [*of.flags, f"-DSEED_{name}"]
            found.append(Search(model, f"{run}, seed {name}", flags, of.liveness, kind, True))
    return found


def call(command: list[str], folder: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode != 0 and "errors:" not in done.stdout and "-d" not in command:
        raise RuntimeError(f"{' '.join(command)}: code {done.returncode}\n{done.stdout}")
    return done.stdout


def unreached(output: str, table: str) -> set[tuple[str, str]]:
    """Statements that a search never came to: (file:line, text).

    What stands in an inline occurs in several places of the program, as `table`, pan's list of
    its transitions, tells; it is reached if it is reached in one of them.  Deaths are left out:
    where one process of two is immortal, they are missing on purpose.
    """
    missed = re.findall(r"^\t(\S+:\d+), state \d+, \"(.*)\"$", output, re.MULTILINE)
    transitions = re.findall(r"\] (\S+:\d+) => (.*)$", table, re.MULTILINE)
    places = collections.Counter()
    for (place, _), count in collections.Counter(transitions).items():
        places[place] = max(places[place], count)
    found = collections.Counter(m for m in missed if m[1] != DEATH).items()
    return {key for key, count in found if 0 < places[key[0]] <= count}


def verify(search: Search) -> tuple[str, str, set]:
    """What is wrong with this search ("": nothing), a line to print, and what it did not reach."""
    try:
        return judge(search)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error), "", set()


def judge(search: Search) -> tuple[str, str, set]:
    with tempfile.TemporaryDirectory(prefix="ramet-model-") as folder:
        for file in (*HERE.glob("*.pml"), *HERE.glob("*.inc")):
            shutil.copy(file, folder)
        generated = call(["spin", *search.flags, "-a", search.model.name], folder)
        # Most searches are shorter than an optimising compiler is at work.
        options = ["-O0", "-w", "-DCOLLAPSE", "-DVECTORSZ=2048"]
        options += [f"-DMEMLIM={MEMORY_MIB}"]
        options += ["-DNFAIR=3"] if search.liveness else ["-DSAFETY", "-DNOFAIR"]
        call([*CC, *options, "-o", "pan", "pan.c"], folder)
        fair = ["-a", "-f"] if search.liveness else []
        output = call(["./pan", f"-m{DEPTH}", "-w20", *fair], folder)
        table = call(["./pan", "-d"], folder)
    states = re.search(r"(\d+) states, stored", output)
    errors = re.search(r"errors: (\d+)", output)
    said = re.findall(r"^(?:pan:\d+: |error: |warning: |Warning: ).*$", output, re.MULTILINE)
    if not states or not errors:
        return f"no result\n{generated}{output}", "", set()
    line = f"{states[1]:>9} states"
    if search.expected:
        if errors[1] == "0" or not any(SIGNS[search.expected] in text for text in said):
            return f"not caught: {search.expected} expected, but {said or 'no error'}", line, set()
        return "", f"{line}, caught: {search.expected}", set()
    if errors[1] != "0" or said or "search depth too small" in output:
        return "; ".join(said) or "the search is not complete", line, set()
    return "", f"{line}, complete, no error", unreached(output, table)


def forgiven(place: str) -> bool:
    """Whether the line's comment says that it is never reached."""
    file, number = place.split(":")
    line = (HERE / file).read_text().splitlines()[int(number) - 1]
    return re.search(r"/\* never[ :]", line) is not None


def main() -> int:
    for tool in ("spin", CC[0]):
        if not shutil.which(tool):
            package = {"spin": "spin"}.get(tool, "build-essential")
            print(f"{tool} not found: install the Debian package {package}", file=sys.stderr)
            return 2
    short = sys.argv[1:2] == ["--short"]
    wanted = sys.argv[1 + short :] or sorted(path.stem for path in HERE.glob("*.pml"))
    plan = [search for name in wanted for search in searches(HERE / f"{name}.pml")]
    if short:
        plan = [search for search in plan if not search.long]
    passed = failed = 0
    never: dict[str, set] = {}
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for search, (wrong, line, missed) in zip(plan, pool.map(verify, plan), strict=True):
            print(f"{search.model.stem:9} {search.name:28} {line}{wrong and ' FAILED: '}{wrong}")
            sys.stdout.flush()
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if not search.expected and not wrong and not short:
                name = search.model.stem
                never[name] = never[name] & missed if name in never else missed
    for name, places in never.items():
        places = sorted(p for p in places if p[1] != "-end-" and not forgiven(p[0]))
        for place, text in places:
            print(f"{name}: never reached: {place}: {text}")
        passed, failed = passed + (not places), failed + bool(places)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
