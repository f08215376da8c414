# SPDX-License-Identifier: MIT
"""What this machine has: its CPythons from 3.11, and for each a virtual environment with our tools.

The environments live in .venv/<version> and are shared by all runs; they are made under a lock and
not changed after, so that runs at the same time do not meet.
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tools" / "requirements.txt"
OLDEST = (3, 11)

PROBE = """
import importlib.util as u, json, os, sys, sysconfig
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "release": sys.version_info[:2],
    "version": "%d.%d.%d" % sys.version_info[:3] + getattr(sys, "abiflags", ""),
    "cpython": sys.implementation.name == "cpython",
    "headers": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "venv": bool(u.find_spec("venv") and u.find_spec("ensurepip")),
}))
"""


class SetupError(Exception):
    """Something is missing; the message is one line that says what to install."""


@dataclass(frozen=True)
class Python:
    """An interpreter as the machine has it."""

    executable: str
    release: tuple[int, int]
    version: str  # with ABI flags, as in 3.13.0t
    missing: str  # "" or one line that names what it lacks and the package with it

    @property
    def environment(self) -> Path:
        return ROOT / ".venv" / self.version

    @property
    def tool_python(self) -> Path:
        return self.environment / "bin" / "python"


def note(text: str) -> None:
    print(f"ramet: {text}", flush=True)


@contextlib.contextmanager
def locked(path: Path):
    """Hold the lock file `path`; other runs wait, and say so once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"waiting for another run's set-up ({path.relative_to(ROOT)})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _candidates():
    chosen = os.environ.get("RAMET_PYTHONS", "").split()
    if chosen:
        yield from chosen
        return
    yield "python3"
    names = re.compile(r"python3\.(\d+)t?")
    found = []
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for path in glob.glob(os.path.join(glob.escape(folder), "python3.*")):
            match = names.fullmatch(os.path.basename(path))
            if match:
                found.append((int(match[1]), path))
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    for path in glob.glob(os.path.join(glob.escape(pyenv), "versions", "3.*", "bin", "python3")):
        minor = Path(path).parents[1].name.split(".")[1]
        found.append((int(re.match(r"\d*", minor)[0] or 0), path))
    yield from (path for minor, path in sorted(found, reverse=True) if minor >= OLDEST[1])


def _probe(command: str):
    try:
        out = subprocess.run(
            [command, "-I", "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        return json.loads(out)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # for example a pyenv shim of a version that is not active


def pythons() -> list[Python]:
    """Every CPython from 3.11, one for each full version: `python3`, then the newest first."""
    found = {}
    for command in _candidates():
        facts = _probe(command)
        if not facts or not facts["cpython"] or tuple(facts["release"]) < OLDEST:
            continue
        executable, release = facts["executable"], "{}.{}".format(*facts["release"])
        name = f"Python {facts['version']} ({executable})"
        missing = ""
        if not facts["venv"]:
            missing = f"{name} has no venv: install the Debian package python{release}-venv"
        elif not facts["headers"]:
            missing = f"{name} has no headers: install the Debian package python{release}-dev"
        python = Python(executable, tuple(facts["release"]), facts["version"], missing)
        known = found.get(python.version)
        if known is None or (known.missing and not missing):
            found[python.version] = python
    return list(found.values())


def usable_python() -> Python:
    """The interpreter for demo, bench and the tools themselves."""
    found = pythons()
    for python in found:
        if not python.missing:
            return python
    if found:
        raise SetupError(found[0].missing)
    raise SetupError("no CPython from 3.11 found: install the Debian package python3")


def tool_environment(python: Python) -> dict[str, str]:
    """The environment variables under which the venv's tools are found first."""
    env = dict(os.environ)
    env["PATH"] = f"{python.environment / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        env.pop(name, None)
    return env


def must(python: Python, command: list, failure: str) -> None:
    """Run a command with this Python's tools; what it said is shown only if it fails."""
    done = subprocess.run(
        command,
        env=tool_environment(python),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise SetupError(failure)


def make_environment(python: Python) -> None:
    """Make .venv/<version> unless it is there and has what REQUIREMENTS says."""
    if python.missing:
        raise SetupError(python.missing)
    wanted = f"{python.executable}\n{REQUIREMENTS.read_text()}"
    ready = python.environment / "ready"
    with locked(ROOT / ".venv" / "lock"):
        if ready.exists() and ready.read_text() == wanted and python.tool_python.exists():
            return
        note(f"setting up .venv/{python.version}")
        shutil.rmtree(python.environment, ignore_errors=True)
        pip = [str(python.tool_python), "-m", "pip", "install", "--quiet"]
        for command in (
            [python.executable, "-I", "-m", "venv", str(python.environment)],
            [*pip, "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
        ):
            must(python, command, f"could not set up .venv/{python.version}: {command[1:5]} failed")
        ready.write_text(wanted)
