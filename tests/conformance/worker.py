# SPDX-License-Identifier: MIT
"""Runs test cases inside the interpreter under test; started by run.py.

    python worker.py SPEC.json

SPEC: {"fd": int, "module": dotted name, "action": "list" | "run" | "provenance",
       "ids": [...], "verbose": bool}
One JSON object per line goes to file descriptor `fd`.  Spawned children
re-import this file as `__mp_main__`, so everything but imports that the
interpreter has done anyway stays under main().
"""

import os
import sys


def flatten(suite):
    for item in suite:
        if hasattr(item, "__iter__"):
            yield from flatten(item)
        else:
            yield item


def provenance(module):
    """Yields (kind of object, whether the package supplies its class)."""
    import importlib

    mp = importlib.import_module(module)
    make = {
        "Process": lambda: mp.Process(),
        "Queue": lambda: mp.Queue(),
        "JoinableQueue": lambda: mp.JoinableQueue(),
        "SimpleQueue": lambda: mp.SimpleQueue(),
        "Connection": lambda: mp.Pipe()[0],
        "Lock": lambda: mp.Lock(),
        "RLock": lambda: mp.RLock(),
        "Semaphore": lambda: mp.Semaphore(),
        "BoundedSemaphore": lambda: mp.BoundedSemaphore(),
        "Condition": lambda: mp.Condition(),
        "Event": lambda: mp.Event(),
        "Barrier": lambda: mp.Barrier(2),
        "Value": lambda: mp.Value("i"),
        "Array": lambda: mp.Array("i", 2),
        "context": lambda: mp.get_context(),
        "RawValue buffer": lambda: sub("heap").BufferWrapper(8),
        "SharedMemory": lambda: sub("shared_memory").SharedMemory.__new__(
            sub("shared_memory").SharedMemory
        ),
        "SyncManager": lambda: sub("managers").SyncManager(),
        "Listener": lambda: sub("connection").Listener.__new__(sub("connection").Listener),
        "Pool": lambda: sub("pool").Pool.__new__(sub("pool").Pool),
    }

    def sub(name):
        return importlib.import_module(f"{module}.{name}")

    for kind, create in make.items():
        try:
            source = type(create()).__module__ + "."
        except Exception:
            yield kind, "absent"
        else:
            yield (
                kind,
                (
                    "borrowed"
                    if source.startswith(("multiprocessing.", "_multiprocessing."))
                    else "own"
                ),
            )


def main():
    import faulthandler
    import importlib
    import json
    import signal
    import time
    import traceback
    import unittest

    from test import support

    with open(sys.argv[1]) as f:
        spec = json.load(f)
    fd, home = spec["fd"], os.getpid()
    os.set_inheritable(fd, False)
    faulthandler.enable()
    # A shell's background job ignores SIGINT; some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    support.use_resources = None  # as `python -m test -u all`
    support.verbose = 1 if spec.get("verbose") else 0

    def emit(**record):
        # A forked child that strayed back into the runner must stay silent.
        if os.getpid() == home:
            os.write(fd, json.dumps(record).encode() + b"\n")

    class Result(unittest.TestResult):
        # Some versions (3.11.7, 3.12.1) call stopTest() for a test that is
        # skipped by decoration without having called startTest().
        outcome, detail, began = None, "", None

        def startTest(self, test):
            super().startTest(test)
            self.began = time.monotonic()
            emit(ev="start", id=test.id())

        def stopTest(self, test):
            super().stopTest(test)
            now = time.monotonic()
            emit(
                ev="end",
                id=test.id(),
                outcome=self.outcome or "error",
                seconds=round(now - (self.began or now), 3),
                detail=self.detail[-4000:],
            )
            self.outcome, self.detail, self.began = None, "", None

        def note(self, test, outcome, detail=""):
            if isinstance(test, unittest.TestCase):
                rank = ["skipped", "passed", "failed", "error"]
                old = self.outcome
                if old is None or rank.index(outcome) >= rank.index(old):
                    self.outcome = outcome
                self.detail += detail
            else:  # setUpClass, tearDownModule, ...
                emit(ev="fixture", where=str(test), outcome=outcome, detail=detail[-4000:])

        def addSuccess(self, test):
            self.note(test, "passed")

        def addFailure(self, test, err):
            self.note(test, "failed", self.text(test, err))

        def addError(self, test, err):
            self.note(test, "error", self.text(test, err))

        def addSkip(self, test, reason):
            self.note(test, "skipped", str(reason))

        def addExpectedFailure(self, test, err):
            self.note(test, "passed", "expected failure")

        def addUnexpectedSuccess(self, test):
            self.note(test, "failed", "unexpected success")

        def addSubTest(self, test, subtest, err):
            if err is not None:
                bad = issubclass(err[0], test.failureException)
                self.note(
                    test, "failed" if bad else "error", f"[{subtest}]\n" + self.text(test, err)
                )

        def text(self, test, err):
            return "".join(traceback.format_exception(*err))

    if spec["action"] == "provenance":
        for kind, how in provenance(spec["module"]):
            emit(ev="provenance", kind=kind, how=how)
        return

    try:
        module = importlib.import_module(spec["module"])
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        tests = {}
        for t in flatten(suite):
            tests.setdefault(t.id(), t)
    except unittest.SkipTest as e:
        emit(ev="module_skip", detail=str(e))
        emit(ev="done", env_changed=False)
        return
    except BaseException:
        emit(ev="module_error", detail=traceback.format_exc()[-8000:])
        emit(ev="done", env_changed=False)
        return

    broken = [i for i in tests if i.startswith("unittest.loader._FailedTest")]
    if broken:
        detail = ""
        for i in broken:
            try:
                tests[i].debug()
            except BaseException as e:
                detail += f"{e}\n"
        emit(ev="module_error", detail=detail[-8000:])

    if spec["action"] == "list":
        for i in tests:
            emit(ev="id", id=i)
        emit(ev="shims", used=getattr(sys.modules.get("_mp_conformance_shim"), "used", []))
        emit(ev="done", env_changed=False)
        return

    support.environment_altered = False
    chosen = unittest.TestSuite(tests[i] for i in spec["ids"] if i in tests)
    chosen(Result())
    support.gc_collect()
    emit(ev="done", env_changed=bool(support.environment_altered))


if __name__ == "__main__":
    main()
