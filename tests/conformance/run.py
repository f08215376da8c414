# SPDX-License-Identifier: MIT
"""Run CPython's own multiprocessing tests against another package; see README.md.

    python run.py --module ramet [--start-methods fork,spawn,forkserver]
                  [--suites core,main,futures] [--match PATTERN] [--timeout S] [--json FILE]

The tests are those of the interpreter that runs this file.
"""

import argparse
import contextlib
import fnmatch
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

from groups import FAILURES, Limits, Outcome, ask_provenance, list_tests, run_group
from processes import become_subreaper, clear_descendants

from bench import Bench

HERE = Path(__file__).resolve().parent
METHODS = ("fork", "spawn", "forkserver")
SUITES = ("core", "main", "futures")
WITH_PROCESSES = re.compile("Process|Fork|Spawn")  # the classes of `futures` that are ours to pass


# -------------------------------------------------------------------------------- what is expected


def read_internals(path):
    """The (pattern, reason) of each line `pattern  # reason`."""
    lines = (line.partition("#") for line in Path(path).read_text().splitlines())
    return [(body.strip(), reason.strip()) for body, _, reason in lines if body.strip()]


def read_skips(version):
    """What the standard library's own run skips here; None where that is not known."""
    path = HERE / "baseline" / f"{version.rpartition('.')[0]}.txt"
    return set(path.read_text().split()) if path.exists() else None


def short_id(label, full):
    return f"{label}:{'.'.join(full.split('.')[-2:])}"


def locate(module, paths):
    """The directories to put on sys.path so that `module` can be imported."""
    sys.path[:0] = paths
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None:
        sys.exit(f"cannot find package {module!r}; is it installed, or is --path missing?")
    where = (list(spec.submodule_search_locations or []) or [spec.origin or ""])[0]
    where = os.path.dirname(os.path.abspath(where))
    if where == os.path.abspath(sysconfig.get_path("stdlib")) or where in paths:
        return paths
    return [*paths, where]


# ----------------------------------------------------------------------------------------- the run


class Run:
    """All of it: records of tests, and what the groups left behind."""

    def __init__(self, options, bench, log):
        self.options, self.bench, self.log = options, bench, log
        self.limits = Limits(options.timeout, options.grace)
        self.internals = read_internals(HERE / "internals.txt")
        self.identity = options.module == "multiprocessing"
        self.skips = None if self.identity else read_skips(platform.python_version())
        self.records, self.groups, self.filled = [], [], []

    def reason(self, ident):
        """Why a test need not pass; None if it must."""
        return next((why for name, why in self.internals if fnmatch.fnmatchcase(ident, name)), None)

    def note(self, ident, outcome, suite, tries=1):
        how = outcome.how
        if how == "skipped" and self.skips is not None and ident not in self.skips:
            how = "skipped-unexpectedly"
        record = {"id": ident, "outcome": how, "seconds": outcome.seconds, "suite": suite}
        record |= {"detail": outcome.detail, "internal": self.reason(ident), "tries": tries}
        self.records.append(record)
        if how in FAILURES or tries > 1 or self.options.verbose:
            again = f", at try {tries}" if tries > 1 else ""
            print(f"{how:8} {ident} ({outcome.seconds} s{again})", flush=True)
            if how in FAILURES:
                print(textwrap.indent(outcome.detail.rstrip(), " " * 9), flush=True)

    def wanted(self, ident):
        match = self.options.match
        if match and not any(m in ident or fnmatch.fnmatchcase(ident, m) for m in match):
            return False
        return not (self.options.skip_internals and self.reason(ident))

    def module(self, suite, label, module):
        """Run what is wanted of one module."""
        ids, filled, error = list_tests(self.bench, module, self.limits, self.log)
        self.filled += [each for each in filled if each not in self.filled]
        if suite == "futures":
            ids = [each for each in ids if WITH_PROCESSES.search(each.split(".")[-2])]
        if error:
            print(f"{module}: cannot be loaded:\n{error}", flush=True)
            self.note(f"{label}:import", Outcome("error", 0, error), suite)
        classes = {}
        for each in ids:
            if self.wanted(short_id(label, each)):
                classes.setdefault(each.rpartition(".")[0], []).append(each)
        for members in classes.values():
            if self.options.list:
                print("\n".join(short_id(label, each) for each in members))
            else:
                self.group(suite, label, module, members)

    def group(self, suite, label, module, members):
        began = time.monotonic()
        group = self.run(module, members)
        tries = dict.fromkeys(members, 1)
        for _ in range(self.options.retries):
            for each in [m for m in members if group.results[m].how in FAILURES]:
                if self.reason(short_id(label, each)):
                    continue
                failed = group.results[each]
                print(f"{failed.how:8} {short_id(label, each)}: once more, alone", flush=True)
                print(textwrap.indent(failed.detail.rstrip(), " " * 9), flush=True)
                tries[each] += 1
                group.results[each] = self.run(module, [each]).results[each]
        for each in members:
            self.note(short_id(label, each), group.results[each], suite, tries[each])
        for where, outcome in group.extra:
            if outcome.how != "skipped":
                name = short_id(label, members[0]).partition(".")[0]
                self.note(f"{name}.<{where.split()[0]}>", outcome, suite)
        self.groups.append((label, time.monotonic() - began, group))

    def run(self, module, ids):
        verbose = self.options.verbose
        return run_group(self.bench, module, ids, self.limits, self.log, verbose)


# -------------------------------------------------------------------------------------- the report


def tally(records):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for record in records:
        count["failed" if record["outcome"] in FAILURES else record["outcome"]] += 1
    return count


def line(count):
    return "{passed} passed, {failed} failed, {skipped} skipped".format(**count)


def report(run, provenance, missing):
    """Print it, and write --json; the exit code."""
    print(f"\n{run.options.module} under Python {platform.python_version()}:")
    for label in dict.fromkeys(record["id"].partition(":")[0] for record in run.records):
        mine = [record for record in run.records if record["id"].startswith(f"{label}:")]
        seconds = sum(spent for of, spent, _ in run.groups if of == label)
        print(f"  {label:11} {line(tally(mine))}, {seconds:.0f} s")
    for each in missing:
        print(f"  {each}")
    for each in run.filled:
        print(f"  filled in: {each}")
    if provenance:
        borrowed, absent = (", ".join(provenance[how]) or "none" for how in ("borrowed", "absent"))
        print(f"  classes from the standard library: {borrowed}; cannot be made: {absent}")
    groups = [group for _, _, group in run.groups]
    objects = sum(group.objects_left for group in groups)
    leaked = sum(len(group.leaked) for group in groups)
    files = sum(len(group.files_left) for group in groups)
    print(f"  left behind: objects by {objects} classes, {leaked} processes, {files} files")
    again = [record for record in run.records if record["tries"] > 1]
    print(f"  tried again, alone: {len(again)} tests")
    for record in again:
        print(f"    {record['id']}: {record['outcome']} at try {record['tries']}")
    required = tally([record for record in run.records if not record["internal"]])
    print(f"  required (without internals.txt): {line(required)}")
    if run.options.json:
        meta = {"module": run.options.module, "python": platform.python_version()}
        meta |= {"total": tally(run.records), "required": required, "filled_in": run.filled}
        text = json.dumps({"meta": meta, "tests": run.records}, indent=1)
        run.options.json.write_text(text + "\n")
    print(line(tally(run.records)))
    return 1 if required["failed"] else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--module", required=True, help="package under test")
    add("--path", action="append", default=[], help="where the package is, if not installed")
    add("--start-methods", default=",".join(METHODS))
    add("--suites", default="core,main", help="of core, main, futures (default: core,main)")
    add("--match", action="append", default=[], help="only ids that match (glob, or part)")
    add("--timeout", type=float, default=120, help="seconds without progress: a hang (120)")
    add("--grace", type=float, default=2, help="seconds left to stray processes (2)")
    add("--retries", type=int, default=2, help="run a failed test again, alone, this often (2)")
    add("--skip-internals", action="store_true", help="leave out what internals.txt lists")
    add("--json", type=Path, help="write all records there")
    add("--list", action="store_true", help="only list the ids")
    add("--log", type=Path, help="file for the tests' own output")
    add("-v", "--verbose", action="store_true")
    add("--keep", action="store_true", help="keep the work folder")
    options = parser.parse_args()
    options.path = [os.path.abspath(each) for each in options.path]
    options.start_methods = options.start_methods.split(",")
    options.suites = options.suites.split(",")
    for given, known in ((options.start_methods, METHODS), (options.suites, SUITES)):
        for each in set(given) - set(known):
            parser.error(f"{each!r} is not one of {', '.join(known)}")
    return options


def main():
    options = parse_arguments()
    paths = [] if options.module == "multiprocessing" else locate(options.module, options.path)
    become_subreaper()
    with contextlib.ExitStack() as stack:
        log = subprocess.DEVNULL
        if options.log:
            log = stack.enter_context(open(options.log, "ab", buffering=0))
        bench = Bench(options.module, paths, options.keep)
        stack.callback(bench.close)
        stack.callback(clear_descendants, 0)
        bench.install(options.suites, options.start_methods)
        run = Run(options, bench, log)
        provenance = None
        if not run.identity:
            provenance = ask_provenance(bench, options.module, run.limits, log)
        for (suite, label), module in bench.drivers.items():
            run.module(suite, label, module)
    return 0 if options.list else report(run, provenance, bench.missing)


if __name__ == "__main__":
    sys.exit(main())
