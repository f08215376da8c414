# SPDX-License-Identifier: MIT
"""`make conformance`: CPython's own multiprocessing tests, with ramet in the place of its module.

tests/conformance/run.py says what that means.  Here it is run for every interpreter that is found
and every start method, as many at a time as there are processors.
"""

import json
import os
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import checks
from checks import Session
from leftovers import MARK
from machine import ROOT, Python, pythons, tool_environment
from package import installed

METHODS = ("fork", "spawn", "forkserver")
RUNNER = ROOT / "tests" / "conformance" / "run.py"
PASSED, SKIPPED = "passed", "skipped"


@dataclass
class Job:
    """One run: an interpreter that has ramet, one start method."""

    python: Python
    executable: Path
    method: str

    @property
    def title(self) -> str:
        return f"python {self.python.version}, {self.method}"


def has_tests(executable: Path) -> bool:
    return subprocess.call([executable, "-c", "import test._test_multiprocessing"]) == 0


def jobs(session: Session) -> list[Job]:
    found = []
    for python in pythons():
        if python.missing:
            session.skip(f"python {python.version}: {python.missing}")
            continue
        executable = installed(python)
        if has_tests(executable):
            found += [Job(python, executable, method) for method in METHODS]
        else:
            major, minor = python.release
            package = f"libpython{major}.{minor}-testsuite"
            session.skip(
                f"python {python.version} has no test package: install the Debian package {package}"
            )
    return found


def run(session: Session, job: Job) -> tuple[int, Path]:
    """Run one; its exit code, and where its records are."""
    stem = session.folder / f"{job.python.version}-{job.method}"
    command = [job.executable, RUNNER, "--module", "ramet", "--start-methods", job.method]
    # What is the same under every method is run once.
    command += ["--suites", "core,main,futures" if job.method == METHODS[0] else "core"]
    command += ["--skip-internals", "--json", f"{stem}.json", "--log", f"{stem}.log"]
    env = {**tool_environment(job.python), "TMPDIR": session.env["TMPDIR"], MARK: session.run.id}
    with open(f"{stem}.txt", "w") as output:
        code = session.call(command, env, stdout=output, stderr=subprocess.STDOUT)
    checks.note(f"{job.title}: {Path(f'{stem}.txt').read_text().strip().splitlines()[-1:]}")
    return code, Path(f"{stem}.json")


def count(session: Session, job: Job, code: int, records: Path) -> None:
    """Count each test; those that the standard library's own run skips here are no tests."""
    tests = json.loads(records.read_text())["tests"] if records.exists() else []
    for test in tests:
        if test["outcome"] == PASSED:
            session.passed += 1
        elif test["outcome"] != SKIPPED:
            session.result(f"{job.title}: {test['id']}: {test['outcome']}", "failed")
    outcomes = Counter(test["outcome"] for test in tests)
    if outcomes[PASSED] == 0 or (code and set(outcomes) <= {PASSED, SKIPPED}):
        session.result(f"{job.title}: ended with code {code}, {len(tests)} tests", "failed")


def stage_conformance(session: Session) -> None:
    todo = jobs(session)
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        done = executor.map(lambda job: run(session, job), todo)
        for job, (code, records) in zip(todo, done, strict=True):
            count(session, job, code, records)


def main() -> int:
    return checks.main([("conformance", stage_conformance)])
