# SPDX-License-Identifier: MIT
"""`make test`: every check, stage by stage, the quick ones first.

Each run builds in a folder of its own, build/test-<pid>, so that runs at the same time do not meet;
it is removed when the run has passed.  What the machine lacks is skipped with a line that says so;
with RAMET_REQUIRE_ALL=1 a skip is a failure.  RAMET_STAGES="format gcc" runs only those stages.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

from leftovers import MARK, Run, TimedOut
from machine import (
    ROOT,
    Python,
    SetupError,
    make_environment,
    note,
    pythons,
    tool_environment,
    usable_python,
)
from package import installed

C_FOLDERS = ["include", "src", "python/ext", "tests", "bench", "examples/c"]
limit = 3600  # seconds for one command; a watchdog for what hangs in spite of the tests' own
MESON_RESULTS = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def format_commands(check: bool) -> list[list[str]]:
    c_files = sorted(str(p) for top in C_FOLDERS for p in (ROOT / top).rglob("*.[ch]"))
    clang_format = ["clang-format", "--style=file", *(["-n", "-Werror"] if check else ["-i"])]
    ruff_format = ["ruff", "format", "--quiet", *(["--diff"] if check else []), "."]
    ruff_check = ["ruff", "check", "--quiet", *([] if check else ["--fix"]), "."]
    return [clang_format + c_files, ruff_check, ruff_format]


def forget_old_builds() -> None:
    """Remove what earlier runs left for inspection."""
    for folder in (ROOT / "build").glob("test-*"):
        if not Path("/proc", folder.name.removeprefix("test-")).exists():
            shutil.rmtree(folder, ignore_errors=True)


class Session:
    """The state of one `make test`: its folder, its processes, its counts."""

    def __init__(self):
        self.require_all = os.environ.get("RAMET_REQUIRE_ALL") == "1"
        self.run = Run()
        forget_old_builds()
        self.folder = ROOT / "build" / f"test-{os.getpid()}"
        self.folder.mkdir(parents=True)
        self.python = usable_python()
        make_environment(self.python)
        self.env = tool_environment(self.python)
        # Not below the tree: names of sockets are at most 107 bytes.
        self.env["TMPDIR"] = tempfile.mkdtemp(prefix="ramet-test-")
        self.passed = 0
        self.failures: list[str] = []
        self.skips: list[str] = []

    def close(self) -> None:
        self.run.kill_all()
        shutil.rmtree(self.env["TMPDIR"], ignore_errors=True)
        if self.failures:
            note(f"the builds and logs are kept in {self.folder.relative_to(ROOT)}")
        else:
            shutil.rmtree(self.folder)

    def call(self, command: list, env=None, **options) -> int:
        try:
            return self.run.call(
                [str(word) for word in command],
                self.env if env is None else env,
                limit,
                cwd=ROOT,
                **options,
            )
        except TimedOut:
            note(f"no end after {limit} s: {shlex.join(str(word) for word in command)}")
            return -1

    def must(self, name: str, command: list, env=None) -> bool:
        """Run `command` as one test called `name`."""
        return self.result(name, "passed" if self.call(command, env) == 0 else "failed") == "passed"

    def result(self, name: str, outcome: str) -> str:
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skip(name)
        else:
            self.failures.append(name)
        return outcome

    def skip(self, why: str) -> None:
        if self.require_all:
            self.failures.append(f"skipped: {why}")
        else:
            self.skips.append(why)
        note(f"skipped: {why}")


# --- C


def build(
    session: Session, name: str, cc: str, *options: str, targets: Iterable[str] = ()
) -> Path | None:
    """Configure and compile one build of the tree, or these targets; None when that failed."""
    folder = session.folder / name
    env = {**session.env, "CC": cc}
    setup = ["meson", "setup", folder, ROOT, *options]
    with open(session.folder / f"{name}-setup.log", "w") as log:
        if session.call(setup, env, stdout=log, stderr=log):
            print(Path(log.name).read_text())
            session.result(f"{name}: meson setup", "failed")
            return None
    jobs = f"-j{os.cpu_count() or 2}"
    compiled = session.must(f"{name}: compile", ["ninja", "--quiet", jobs, "-C", folder, *targets])
    return folder if compiled else None


def meson_test(
    session: Session,
    name: str,
    folder: Path,
    *options: str,
    env=None,
    counts: bool = False,
    under: Iterable[str] = (),
) -> None:
    """Run tests of a build and count each; with `counts` show what they printed.

    `under`: the command and options that are to start them."""
    command = [
        *under,
        "meson",
        "test",
        "-C",
        folder,
        "--no-rebuild",
        "--print-errorlogs",
        "--quiet",
    ]
    command += ["--logbase", f"log-{name}", *options]
    if "long" not in options:  # tests of the suite `long` run in full forms only
        command += ["--no-suite", "long"]
    if os.environ.get("RAMET_LONG"):
        command += ["--timeout-multiplier", "20"]
    code = session.call(command, {**session.env, **(env or {})})
    logs = (folder / "meson-logs").glob(f"log-{name}*.json")
    lines = [line for log in logs for line in log.read_text().splitlines()]
    failed = False
    for test in map(json.loads, lines):
        outcome = MESON_RESULTS.get(test["result"], "failed")
        if counts:
            print(test.get("stdout", ""), end="", flush=True)
        failed |= session.result(f"{name}: {test['name']}", outcome) == "failed"
    if not lines or (code and not failed):
        session.result(f"{name}: meson test ended with code {code}, {len(lines)} tests", "failed")


def stage_format(session: Session) -> None:
    for command in format_commands(check=True):
        session.must(f"format: {' '.join(command[:2])}", command)


def stage_layers(session: Session) -> None:
    session.must("layers", [sys.executable, ROOT / "tools" / "check_layers.py"])
    session.must("memory orders", [sys.executable, ROOT / "tools" / "check_pairs.py"])
    session.must("no cancellation point", [sys.executable, ROOT / "tools" / "check_cancel.py"])


def stage_gcc(session: Session) -> None:
    prefix = session.folder / "prefix"
    folder = build(session, "gcc", os.environ.get("CC", "cc"), "-Dbench=true", f"--prefix={prefix}")
    if not folder:
        return
    meson_test(session, "gcc", folder, "--no-suite", "kill", "--no-suite", "stress")
    clang = ["clang"] if shutil.which("clang") else []
    check_install(session, "gcc", folder, prefix, os.environ.get("CC", "cc"), *clang)


def check_install(session: Session, name: str, folder: Path, prefix: Path, *compilers: str) -> None:
    """Install a build, and use it from elsewhere with the compilers."""
    if packages_missing(session, f"{name}: install", {"pkg-config": "pkg-config", "man": "man-db"}):
        return
    install = ["meson", "install", "--quiet", "--no-rebuild", "-C", folder]
    if session.must(f"{name}: install", install):
        check = [sys.executable, ROOT / "tools" / "check_install.py", prefix, *compilers]
        session.must(f"{name}: use of what is installed", check)


def stage_kill(session: Session) -> None:
    folder = session.folder / "gcc"
    if folder.exists():
        meson_test(session, "kill", folder, "--suite", "kill", "--suite", "stress")


def stage_valgrind(session: Session) -> None:
    folder = session.folder / "gcc"
    if not shutil.which("valgrind"):
        session.skip("valgrind: not found: install the Debian package valgrind")
    elif folder.exists():
        meson_test(session, "valgrind", folder, "--setup", "valgrind", "--suite", "valgrind")


def stage_clang(session: Session) -> None:
    if not shutil.which("clang"):
        session.skip("clang: not found: install the Debian package clang")
        return
    folder = build(session, "clang", "clang")
    if folder:
        meson_test(session, "clang", folder, "--no-suite", "kill", "--no-suite", "stress")


def stage_sanitizers(session: Session) -> None:
    cc = os.environ.get("CC", "cc")
    program = session.folder / "probe"  # a linker run by root may remove what it writes to
    probe = [*shlex.split(cc), "-fsanitize=address,undefined", "-x", "c", "-", "-o", str(program)]
    if subprocess.run(probe, input="int main(void){}", text=True, capture_output=True).returncode:
        session.skip(
            f"sanitizers: {cc} has none: install the Debian packages libasan8 and libubsan1"
        )
        return
    options = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dc_args=" + SANITIZE_ARGS]
    folder = build(session, "sanitizers", cc, *options)
    if folder:
        env = {
            "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        meson_test(session, "sanitizers", folder, env=env)


def thread_sanitizer(session: Session, cc: str) -> list[str] | None:
    """What programs with ThreadSanitizer have to be started by here; None if there are none."""
    program = session.folder / "probe-thread"
    probe = [*shlex.split(cc), "-fsanitize=thread", "-x", "c", "-", "-o", str(program)]
    if subprocess.run(probe, input="int main(void){}", text=True, capture_output=True).returncode:
        session.skip(f"tsan: {cc} has none: install the Debian package libtsan2")
        return None
    # Older ones have no room for the addresses that newer kernels give out at random.
    for under in ([], ["setarch", "-R"]):
        if subprocess.run([*under, program], capture_output=True).returncode == 0:
            return under
    session.skip("tsan: a program with ThreadSanitizer does not start: see vm.mmap_rnd_bits")
    return None


def stage_tsan(session: Session) -> None:
    """All tests with threads, and the stress tests with threads for processes."""
    cc = os.environ.get("CC", "cc")
    under = thread_sanitizer(session, cc)
    if under is None:
        return
    options = ["-Db_sanitize=thread", "-Db_lundef=false", "-Dexamples=false"]
    folder = build(session, "tsan", cc, *options, targets=["threads"])
    if folder:
        env = {"TSAN_OPTIONS": TSAN_OPTIONS}
        meson_test(session, "tsan", folder, "--suite", "threads", env=env, under=under)


# A child of a process with threads may start some of its own; a report is a failure, and the
# program goes on to the next.
TSAN_OPTIONS = "die_after_fork=0:exitcode=66:halt_on_error=0:history_size=4"


def stage_model(session: Session) -> None:
    if not shutil.which("spin"):
        session.skip("model: spin not found: install the Debian package spin")
    else:
        whole = session.require_all or os.environ.get("RAMET_LONG") == "1"
        form = [] if whole else ["--short"]
        session.must("model", [sys.executable, ROOT / "tests" / "model" / "run.py", *form])


def stage_fuzz(session: Session) -> None:
    """The fuzz targets: a fixed number of inputs each; with RAMET_LONG=1 for minutes."""
    if not shutil.which("clang"):
        session.skip("fuzz: clang not found: install the Debian package clang")
        return
    probe = ["clang", "-fsanitize=fuzzer", "-x", "c", "-", "-o", str(session.folder / "probe")]
    source = "int LLVMFuzzerTestOneInput(void){return 0;}"
    if subprocess.run(probe, input=source, text=True, capture_output=True).returncode:
        session.skip("fuzz: clang has no libFuzzer: install the Debian package libclang-rt-14-dev")
        return
    options = ["-Dfuzz=true", "-Dtests=false", "-Dexamples=false", "-Db_lundef=false"]
    options += ["-Db_sanitize=address,undefined", "-Dc_args=" + SANITIZE_ARGS]
    folder = build(session, "fuzz", "clang", *options)
    if folder:
        meson_test(session, "fuzz", folder, "--suite", "fuzz")


SANITIZE_ARGS = "-fno-sanitize-recover=all -fno-omit-frame-pointer"


def packages_missing(session: Session, name: str, packages: dict[str, str]) -> bool:
    """Whether one of the programs is not there: a skip, with the line that says what to install."""
    for program, package in packages.items():
        if not shutil.which(program):
            session.skip(f"{name}: no {program}: install the Debian package {package}")
            return True
    return False


def stage_musl(session: Session) -> None:
    if packages_missing(session, "musl", {"musl-gcc": "musl-tools"}):
        return
    # musl-gcc finds no headers of the kernel, which some tests need; the library does without.
    kernel = session.folder / "kernel"
    kernel.mkdir()
    machine = subprocess.check_output(["cc", "-print-multiarch"], text=True).strip()
    for name in ("linux", f"{machine}/asm", "asm-generic"):
        (kernel / Path(name).name).symlink_to(Path("/usr/include", name))
    options = [f"--native-file={ROOT / 'tools' / 'cross' / 'musl.ini'}", "-Dbench=true"]
    options += ["-Ddebug=false", f"-Dc_args=-isystem{kernel}"]
    prefix = session.folder / "musl-prefix"
    folder = build(session, "musl", "musl-gcc", *options, f"--prefix={prefix}")
    if folder:
        meson_test(session, "musl", folder, "--suite", "unit")
        check_install(session, "musl", folder, prefix, "musl-gcc")


def stage_aarch64(session: Session) -> None:
    packages = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"}
    if packages_missing(session, "aarch64", packages):
        return
    cross = ROOT / "tools" / "cross" / "aarch64.ini"
    if not Path("/usr/aarch64-linux-gnu/include/stdio.h").exists():
        session.skip("aarch64: no C library: install the Debian package libc6-dev-arm64-cross")
        return
    options = [f"--cross-file={cross}", "-Dbench=true", "-Ddebug=false"]
    folder = build(session, "aarch64", "aarch64-linux-gnu-gcc", *options)
    if folder:
        meson_test(session, "aarch64", folder, "--setup", "qemu", "--suite", "unit")


# --- Python


def python_job(session: Session, python: Python) -> dict | None:
    """What runs the tests on one interpreter, once the package is installed for it."""
    name = f"python {python.version}"
    if python.missing:
        session.skip(f"{name}: {python.missing}")
        return None
    try:
        executable = installed(python)
    except SetupError as error:
        session.result(f"{name}: {error}", "failed")
        return None
    session.result(f"{name}: package", "passed")
    results = session.folder / f"{python.version}.xml"
    command = [executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={results}", "tests/python"]
    return {
        "title": name,
        "command": [str(word) for word in command],
        "env": {**tool_environment(python), "TMPDIR": session.env["TMPDIR"], MARK: session.run.id},
        "log": str(session.folder / f"{python.version}.log"),
        "results": str(results),
    }


def stage_python(session: Session) -> None:
    """The Python tests, on all interpreters at the same time."""
    jobs = [job for python in pythons() if (job := python_job(session, python))]
    plan = session.folder / "python.json"
    plan.write_text(json.dumps(jobs))
    session.call([sys.executable, ROOT / "tools" / "together.py", plan])
    for job in json.loads(plan.read_text()):
        count_pytest(session, job["title"], Path(job["results"]), job.get("code", -1))


def count_pytest(session: Session, name: str, results: Path, code: int) -> None:
    """Count each test of a pytest run."""
    cases = list(ET.parse(results).iter("testcase")) if results.exists() else []
    failed = False
    for case in cases:
        title = f"{name}: {case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            session.result(title, "failed")
            failed = True
        elif (skipped := case.find("skipped")) is not None:
            session.skip(f"{title}: {skipped.get('message')}")
        else:
            session.passed += 1
    if not cases or (code and not failed):
        session.result(f"{name}: pytest ended with code {code}, {len(cases)} tests", "failed")


# --- all of it


Stage = tuple[str, Callable[[Session], None]]

STAGES: list[Stage] = [
    ("format", stage_format),
    ("layers", stage_layers),
    ("gcc", stage_gcc),
    ("python", stage_python),
    ("clang", stage_clang),
    ("musl", stage_musl),
    ("aarch64", stage_aarch64),
    ("sanitizers", stage_sanitizers),
    ("tsan", stage_tsan),
    ("fuzz", stage_fuzz),
    ("valgrind", stage_valgrind),
    ("model", stage_model),
    ("kill", stage_kill),
]


def run_stages(session: Session, stages: Iterable[Stage]) -> None:
    chosen = os.environ.get("RAMET_STAGES", "").split()
    stages = list(stages)
    unknown = set(chosen).difference(name for name, _ in stages)
    if unknown:
        names = " ".join(name for name, _ in stages)
        raise SystemExit(f"RAMET_STAGES: no stage {', '.join(sorted(unknown))} in: {names}")
    for name, stage in stages:
        if chosen and name not in chosen:
            continue
        note(f"--- {name}")
        began, before = time.monotonic(), len(session.failures)
        stage(session)
        left = session.run.leftovers()
        for line in left:
            session.result(f"{name}: {line}", "failed")
        if not left:
            session.result(f"{name}: nothing is left behind", "passed")
        note(f"{name}: {time.monotonic() - began:.0f} s")
        if len(session.failures) > before and not session.require_all:
            note("stopped at the first stage that failed; RAMET_REQUIRE_ALL=1 goes on")
            return


def main(stages: Iterable[Stage] = STAGES) -> int:
    session = Session()
    try:
        run_stages(session, stages)
    finally:
        session.close()
    for failure in session.failures:
        print(f"FAILED {failure}")
    counts = f"{session.passed} passed, {len(session.failures)} failed"
    print(counts + (f", {len(session.skips)} skipped" if session.skips else ""), flush=True)
    return 1 if session.failures else 0
