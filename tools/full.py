# SPDX-License-Identifier: MIT
"""`make test-kill` and `make test-long`: the full forms of what `make test` runs in short.

A test's full form is what it does under RAMET_LONG=1, which the meson setup `long` sets; tests of
the suite `long` run here only.  A part that is no meson test is a stage of its own, a function in a
list, here or in checks.py, which counts what it did by `session.must` or `session.result`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import checks
import conformance
from checks import Session, Stage, meson_test
from machine import ROOT

SEEDED = ROOT / "tests" / "seeded" / "run.py"
FULL_LIMIT = 6 * 3600  # seconds; a watchdog


def hooked_build(session: Session) -> Path | None:
    """The build with gcc that the stages of this file share."""
    folder = session.folder / "gcc"
    if folder.exists():
        return folder
    return checks.build(session, "gcc", os.environ.get("CC", "cc"))


def stage_kill_full(session: Session) -> None:
    """Every program of tests/kill and tests/stress, with what each prints of how much it did."""
    folder = hooked_build(session)
    if folder:
        options = ["--setup", "long", "--suite", "kill", "--suite", "stress", "--no-suite", "step"]
        meson_test(session, "kill", folder, *options, counts=True)


def kill_step(session: Session, stride: int) -> None:
    """kill-step with what each compiler makes of the library at each level.

    The operations of the pairs' peers are atomic ones, which are the same and in one order whatever
    made them: so they are all tried with one build, the one that is shipped, and one in `stride` of
    them with the others."""
    for cc in ("gcc", "clang"):
        if not shutil.which(cc):
            session.skip(f"kill-step: {cc} not found: install the Debian package {cc}")
            continue
        for level in ("0", "2", "3"):
            name = f"step-{cc}-O{level}"
            options = [f"-Doptimization={level}", "-Ddebug=true", "-Dexamples=false"]
            targets = ["step"] if os.uname().machine == "x86_64" else []
            folder = checks.build(session, name, cc, *options, targets=targets)
            if folder:
                chosen = ["--setup", "long", "--suite", "step"]
                one_in = 1 if (cc, level) == ("gcc", "2") else stride
                env = {"RAMET_STEP_STRIDE": str(one_in)}
                meson_test(session, name, folder, *chosen, env=env, counts=True)


def stage_step(session: Session) -> None:
    kill_step(session, 7)


def stage_step_whole(session: Session) -> None:
    kill_step(session, 1)


def stage_seeded(session: Session) -> None:
    """Bugs that are put in on purpose are found, each by the test that has to."""
    command = [sys.executable, SEEDED]
    listed = subprocess.run([*command, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    for name in listed.stdout.split():
        session.must(f"seeded {name}", [*command, session.folder / "seeded", name])


# The stages of `make test-kill`.
KILL: list[Stage] = [
    ("kill", stage_kill_full),
    ("step", stage_step),
    ("seeded", stage_seeded),
]


def test_kill() -> int:
    checks.limit = FULL_LIMIT
    os.environ["RAMET_LONG"] = "1"
    return checks.main(KILL)


def test_long() -> int:
    """The stages of `make test` and of `make test-kill`, all in full."""
    checks.limit = FULL_LIMIT
    os.environ["RAMET_LONG"] = "1"
    short = [stage for stage in checks.STAGES if stage[0] != "kill"]
    kill = [("step", stage_step_whole) if stage[0] == "step" else stage for stage in KILL]
    return checks.main([*short, conformance.STAGE, *kill])


def stage_storm(session: Session) -> None:
    folder = hooked_build(session)
    if folder:
        arguments = ["--seconds", "60", *sys.argv[2:]]
        session.must("storm", [folder / "tests" / "kill" / "storm", *arguments])


def storm() -> int:
    checks.limit = 365 * 24 * 3600  # as long as one likes; the program has a watchdog of its own
    os.environ["RAMET_LONG"] = "1"
    return checks.main([("storm", stage_storm)])
