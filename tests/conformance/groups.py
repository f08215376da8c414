# SPDX-License-Identifier: MIT
"""The tests of one class, run by as many workers as it takes, and what became of each.

A worker that hangs or dies in a test loses that test; the rest of the class goes on in a new one.
"""

import time
from dataclasses import dataclass, field

from processes import Worker, clear_descendants

FAILURES = ("failed", "error", "timeout", "crashed", "skipped-unexpectedly")


@dataclass
class Limits:
    """Seconds: without progress, which make a hang; and left to stray processes."""

    timeout: float
    grace: float


@dataclass
class Outcome:
    """Of one test."""

    how: str
    seconds: float
    detail: str = ""


@dataclass
class Group:
    """A class of tests: its outcomes by id, failures outside tests, and what was left behind."""

    ids: list[str]
    results: dict[str, Outcome] = field(default_factory=dict)
    extra: list[tuple[str, Outcome]] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    files_left: list[str] = field(default_factory=list)
    objects_left: bool = False


def follow(worker, timeout, take):
    """Hand the records of a worker to `take` until it is gone; True if it hung and was killed."""
    last = time.monotonic()
    while True:
        alive = worker.proc.poll() is None
        got = worker.records(0.2 if alive else 0)
        for record in got:
            last = time.monotonic()
            take(record)
        if not alive and not got:
            return False
        if time.monotonic() - last > timeout:
            worker.kill()
            return True


class Session:
    """One worker at some of the tests of a group."""

    def __init__(self, group, todo):
        self.group, self.todo = group, todo
        self.current = self.fixture = None
        self.began = time.monotonic()
        self.done = False

    def take(self, record):
        event = record["ev"]
        if event == "start":
            self.current, self.began = record["id"], time.monotonic()
        elif event == "end":
            self.current = None
            outcome = Outcome(record["outcome"], record["seconds"], record["detail"])
            self.group.results[record["id"]] = outcome
        elif event == "fixture" and not record["where"].startswith("setUp"):
            outcome = Outcome(record["outcome"], 0, record["detail"])
            self.group.extra.append((record["where"], outcome))
        elif event in ("fixture", "module_skip", "module_error"):
            self.fixture = record
        elif event == "done":
            self.done = True
            self.group.objects_left |= record["env_changed"]

    def lost(self, hung, status, timeout):
        """After the end of the worker: the outcomes of those tests of which it told none."""
        left = [each for each in self.todo if each not in self.group.results]
        if self.current:
            how = "timeout" if hung else "crashed"
            why = f"no answer for {timeout} s" if hung else f"worker exit status {status}"
            seconds = round(time.monotonic() - self.began, 3)
            return {self.current: Outcome(how, seconds, why)}
        if hung and not self.done and left:
            return {each: Outcome("timeout", timeout, "hung in a fixture") for each in left}
        if hung or (self.done and status):
            how = "timeout" if hung else "crashed"
            self.group.extra.append(("exit", Outcome(how, 0, f"after the tests; status {status}")))
        if hung:
            return {}
        how, detail = "error", f"not run; worker status {status}"
        if self.fixture:
            skipped = self.fixture["ev"] == "module_skip"
            how = "skipped" if skipped else self.fixture.get("outcome", "error")
            detail = self.fixture["detail"]
        return {each: Outcome(how, 0, detail) for each in left}


def run_group(bench, module, ids, limits, log, verbose=False):
    """Run the tests `ids` of one class of `module`."""
    group = Group(ids)
    todo = list(ids)
    while todo:
        spec = {"module": module, "action": "run", "ids": todo, "verbose": verbose}
        worker = Worker(bench, spec, log)
        session = Session(group, todo)
        hung = follow(worker, limits.timeout, session.take)
        group.results |= session.lost(hung, worker.proc.returncode, limits.timeout)
        todo = [each for each in todo if each not in group.results]
        group.leaked += clear_descendants(0 if hung else limits.grace)
        group.files_left += worker.close()
    return group


def list_tests(bench, module, limits, log):
    """The ids of a module's tests, what was filled in for it, and why it cannot be loaded."""
    ids, filled, errors = [], [], []

    def take(record):
        if record["ev"] == "id":
            ids.append(record["id"])
        elif record["ev"] == "shims":
            filled.extend(record["used"])
        elif record["ev"].startswith("module_"):
            errors.append(record["detail"])

    worker = Worker(bench, {"module": module, "action": "list"}, log)
    if follow(worker, limits.timeout, take):
        errors.append("hung while importing the tests")
    clear_descendants(limits.grace)
    worker.close()
    return ids, filled, "\n".join(errors)


def ask_provenance(bench, module, limits, log):
    """The kinds of objects whose class is the package's own, borrowed, or absent."""
    found = {"own": [], "borrowed": [], "absent": []}
    worker = Worker(bench, {"module": module, "action": "provenance"}, log)
    follow(worker, limits.timeout, lambda record: found[record["how"]].append(record["kind"]))
    clear_descendants(0)
    worker.close()
    return found
