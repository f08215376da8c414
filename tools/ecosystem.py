# SPDX-License-Identifier: MIT
"""`make test-ecosystem`: other people's packages with ramet in the place of multiprocessing.

The packages of tools/ecosystem.txt come from PyPI into a folder of their own, .venv/ecosystem-…,
made once.  PyTorch is Debian's, for /usr/bin/python3, since PyPI's has gigabytes of CUDA with it.
What cannot be had is a failure, or a skip where the machine's packages are in question.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import checks
from checks import Session, count_pytest
from leftovers import MARK
from machine import (
    ROOT,
    Python,
    SetupError,
    locked,
    make_environment,
    must,
    note,
    pythons,
    tool_environment,
    usable_python,
)
from package import installed

REQUIREMENTS = ROOT / "tools" / "ecosystem.txt"
TESTS = ROOT / "tests" / "ecosystem"
DEBIAN = "/usr/bin/python3"
DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"


def packages(python: Python) -> Path:
    """The folder with what REQUIREMENTS says, for one interpreter."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".venv" / f"ecosystem-{python.version}-{wanted}"
    make_environment(python)
    with locked(ROOT / ".venv" / "lock-ecosystem"):
        if (folder / "ready").exists():
            return folder
        note(f"setting up .venv/{folder.name}")
        for old in folder.parent.glob(f"ecosystem-{python.version}-*"):
            shutil.rmtree(old, ignore_errors=True)
        command = [str(python.tool_python), "-m", "pip", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(folder)]
        command += ["-r", str(REQUIREMENTS)]
        must(python, command, f"pip could not get the packages of {REQUIREMENTS.name}")
        (folder / "ready").touch()
    return folder


def run_tests(session: Session, name: str, python: Python, path: str, *files: str) -> None:
    """Run tests with an interpreter that finds packages in a folder, too."""
    executable = installed(python)
    results = session.folder / f"{name}.xml"
    command = [executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
    command += [f"--junitxml={results}", *(TESTS / file for file in files)]
    env = {
        **tool_environment(python),
        "PYTHONPATH": path,
        "TMPDIR": session.env["TMPDIR"],
        MARK: session.run.id,
    }
    code = session.call(command, env)
    count_pytest(session, f"ecosystem, {name}", results, code)


def stage_pypi(session: Session) -> None:
    """Everything but PyTorch, on the interpreter of the tools."""
    try:
        python = usable_python()
        files = sorted(path.name for path in TESTS.glob("test_*.py") if "torch" not in path.name)
        run_tests(session, f"python {python.version}", python, str(packages(python)), *files)
    except SetupError as error:
        session.result(f"ecosystem: {error}", "failed")


def debian_python() -> Python | None:
    """Debian's interpreter, if it is one that we run on."""
    executable = os.path.realpath(DEBIAN)
    return next((p for p in pythons() if p.executable == executable and not p.missing), None)


def stage_torch(session: Session) -> None:
    """PyTorch, on Debian's interpreter."""
    python = debian_python()
    look = [DEBIAN, "-c", "import torch"]
    if python is None or subprocess.run(look, capture_output=True).returncode:
        what = "python3-dev, python3-venv and python3-torch"
        session.skip(f"ecosystem, PyTorch: install the Debian packages {what}")
        return
    try:
        run_tests(session, "PyTorch", python, DEBIAN_PACKAGES, "test_torch.py")
    except SetupError as error:
        session.result(f"ecosystem: {error}", "failed")


ECOSYSTEM: list[checks.Stage] = [("ecosystem", stage_pypi), ("torch", stage_torch)]


def main() -> int:
    return checks.main(ECOSYSTEM)
