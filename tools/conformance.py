# SPDX-License-Identifier: MIT
"""`make conformance`: CPython's own multiprocessing tests, with ramet in the place of its module.

tests/conformance/run.py says what that means.  Here it is run for every interpreter that is found
and every start method, several at the same time.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import checks
from checks import Session
from leftovers import MARK
from machine import ROOT, Python, pythons, tool_environment
from package import installed

METHODS = ("spawn", "fork", "forkserver")  # the one that takes longest first
RUNNER = ROOT / "tests" / "conformance" / "run.py"
PASSED, SKIPPED = "passed", "skipped"


def job(session: Session, python: Python, executable: Path, method: str) -> dict:
    """One run, for tools/together.py."""
    stem = session.folder / f"{python.version}-{method}"
    command = [executable, RUNNER, "--module", "ramet", "--start-methods", method]
    # What is the same under every method is run once.
    command += ["--suites", "core,main" if method == "fork" else "core"]
    command += ["--skip-internals", "--json", f"{stem}.json"]
    return {
        "title": f"python {python.version}, {method}",
        "command": [str(word) for word in command],
        "env": {**tool_environment(python), "TMPDIR": session.env["TMPDIR"], MARK: session.run.id},
        "log": f"{stem}.log",
        "records": f"{stem}.json",
    }


def jobs(session: Session) -> list[dict]:
    found = {method: [] for method in METHODS}
    for python in pythons():
        if python.missing:
            session.skip(f"python {python.version}: {python.missing}")
            continue
        executable = installed(python)
        look = [executable, "-c", "import test._test_multiprocessing"]
        if subprocess.call(look, stderr=subprocess.DEVNULL) == 0:
            for method in METHODS:
                found[method].append(job(session, python, executable, method))
        else:
            package = "libpython{}.{}-testsuite".format(*python.release)
            what = f"python {python.version} has no test package"
            session.skip(f"{what}: install the Debian package {package}")
    return [each for method in METHODS for each in found[method]]


def count(session: Session, title: str, code: int, records: Path) -> None:
    """Count each test; those that the standard library's own run skips here are no tests."""
    tests = json.loads(records.read_text())["tests"] if records.exists() else []
    for test in tests:
        if test["outcome"] == PASSED:
            session.passed += 1
        elif test["outcome"] != SKIPPED:
            session.result(f"{title}: {test['id']}: {test['outcome']}", "failed")
    outcomes = Counter(test["outcome"] for test in tests)
    if outcomes[PASSED] == 0 or (code and set(outcomes) <= {PASSED, SKIPPED}):
        session.result(f"{title}: ended with code {code}, {len(tests)} tests", "failed")


def stage_conformance(session: Session) -> None:
    plan = session.folder / "conformance.json"
    plan.write_text(json.dumps(jobs(session)))
    session.call([sys.executable, ROOT / "tools" / "together.py", plan])
    for done in json.loads(plan.read_text()):
        count(session, done["title"], done.get("code", -1), Path(done["records"]))


STAGE: checks.Stage = ("conformance", stage_conformance)


def main() -> int:
    return checks.main([STAGE])
