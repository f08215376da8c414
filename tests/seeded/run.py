#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Show that the tests find bugs: builds the C library with each seeded bug and runs what must fail.

    tests/seeded/run.py FOLDER [SEED ...]
    tests/seeded/run.py --list

FOLDER is a build directory; it is made if need be, and can be used again.  For each seed (all of
them unless some are named) the program that has to find it must fail, by its own check, with the
message that belongs to it: not by a signal, a watchdog or the compiler.  With the seed `none` all
of these programs must pass.  Prints a line for each; the exit code says whether all was as it
should be.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WATCHDOG = 600  # seconds for one program; it is a failure of this test, not a finding


@dataclass(frozen=True)
class Finding:
    """A seeded bug, a program that has to find it, and what that says then."""

    name: str
    program: str  # in tests/
    message: str  # a regular expression, searched in what the program prints


FINDINGS = [
    Finding("commit-early", "kill/kill_queue", r"its check failed|failed: .*item\.size"),
    Finding(
        "commit-early", "sched/sched_queue", r"sleeps on .* though it may go on|failed: id > 0"
    ),
    Finding("hold-late", "kill/kill_queue", r"got \d+, lost 0, put \d+"),
    Finding("hold-late", "sched/sched_queue", r"failed: lost >= missing"),
    Finding("wake-lost", "kill/kill_wake", r"queue, get: a wake is lost, without a death"),
    Finding("wake-lost", "sched/sched_queue", r"the consumer sleeps on .* though it may go on"),
    Finding("freed-twice", "kill/kill_block", r"page 0x\w+: \d+ blocks in the bitmap, \d+ counted"),
    Finding(
        "freed-twice", "sched/sched_queue", r"page 0x\w+: \d+ blocks in the bitmap, \d+ counted"
    ),
    Finding(
        "permit-kept", "kill/kill_semaphore", r"failed: ramet_semaphore_value\(owned\) == PERMITS"
    ),
    Finding("permit-kept", "sched/sched_sync", r"semaphore 0x\w+: its check failed"),
    Finding("epoch-ignored", "kill/kill_identity", r"failed: ramet_lock_acquire.* == -EOWNERDEAD"),
    Finding(
        "bell-late",
        "kill/kill_pipe",
        r"pipe end 0x\w+: its check failed|failed: !polled .*readable",
    ),
    Finding("bell-late", "sched/sched_pipe", r"failed: !holds_messages\(\) \|\| readable"),
    Finding(
        "thread-for-process", "kill/kill_identity", r"failed: ramet_lock_acquire.* == -ETIMEDOUT"
    ),
]
NAMES = ["none", *dict.fromkeys(finding.name for finding in FINDINGS)]
PROGRAMS = sorted({finding.program for finding in FINDINGS})


def say(text: str) -> None:
    print(text, flush=True)


def build(folder: Path, seed: str) -> bool:
    """Have the programs compiled with the seed; False, and why on stdout, if that fails."""
    if (folder / "build.ninja").exists():
        setup = ["meson", "configure", f"-Dseeded={seed}", str(folder)]
    else:
        options = ["-Dexamples=false", "-Dpython=disabled", f"-Dseeded={seed}"]
        setup = ["meson", "setup", *options, str(folder), str(ROOT)]
    targets = [f"tests/{program}" for program in PROGRAMS]
    jobs = f"-j{min(os.cpu_count() or 2, 2)}"
    for command in (setup, ["ninja", jobs, "-C", str(folder), *targets]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            say(f"seeded {seed}: {' '.join(command)} failed:\n{done.stdout}")
            return False
    return True


def run(folder: Path, program: str) -> tuple[int | None, str]:
    """The exit code of one program, None if it had to be ended, and what it printed."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [str(folder / "tests" / program)],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(WATCHDOG)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the peers that a failure leaves
            process.wait()
        output.seek(0)
        return code, output.read()


def passes_without(folder: Path) -> bool:
    if not build(folder, "none"):
        return False
    good = True
    for program in PROGRAMS:
        code, output = run(folder, program)
        if code != 0:
            say(f"seeded none: {program} ended with {code}:\n{output}")
            good = False
    if good:
        say(f"seeded none: {', '.join(PROGRAMS)} pass")
    return good


def is_found(folder: Path, name: str) -> bool:
    if not build(folder, name):
        return False
    good = True
    for finding in FINDINGS:
        if finding.name != name:
            continue
        code, output = run(folder, finding.program)
        found = re.search(finding.message, output)
        if code == 1 and found:
            say(f"seeded {name}: found by {finding.program}: {line_of(output, found)}")
            continue
        say(f"seeded {name}: NOT found by {finding.program}, which ended with {code}:\n{output}")
        good = False
    return good


def line_of(output: str, found: re.Match) -> str:
    start = output.rfind("\n", 0, found.start()) + 1
    return output[start:].partition("\n")[0].rpartition("/")[2]


def main() -> int:
    if sys.argv[1:] == ["--list"]:
        say("\n".join(NAMES))
        return 0
    folder, names = Path(sys.argv[1]), sys.argv[2:] or NAMES
    right = 0
    for name in names:
        right += passes_without(folder) if name == "none" else is_found(folder, name)
    return 0 if right == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
