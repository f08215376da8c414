# SPDX-License-Identifier: MIT
"""The package, installed by pip as a user would, for one interpreter and one state of the sources.

Each lands in an environment of its own, build/package/<version>-<hash of the sources>, that is made
under a lock and not changed after: runs at the same time share it, and a run that edits the sources
gets another.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from machine import ROOT, Python, locked, make_environment, must, note, tool_environment

SOURCES = ["include", "src", "python", "meson.build", "meson.options", "pyproject.toml"]
PACKAGES = ROOT / "build" / "package"
KEEP_SECONDS = 24 * 3600


def _source_hash(python: Python) -> str:
    digest = hashlib.sha256(f"{python.executable} {os.environ.get('CC', '')}".encode())
    for top in SOURCES:
        path = ROOT / top
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\n{file.relative_to(ROOT)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _forget_old() -> None:
    for path in PACKAGES.glob("*-*"):
        ready = path / "ready"
        if ready.exists() and time.time() - ready.stat().st_mtime > KEEP_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def installed(python: Python) -> Path:
    """The Python executable of an environment that has ramet as the sources are now."""
    make_environment(python)
    home = PACKAGES / f"{python.version}-{_source_hash(python)}"
    executable = home / "bin" / "python"
    with locked(PACKAGES / f"lock-{python.version}"):
        if (home / "ready").exists():
            os.utime(home / "ready")
            return executable
        note(f"building the package for Python {python.version}")
        _forget_old()
        shutil.rmtree(home, ignore_errors=True)
        _install(python, home, executable)
        (home / "ready").touch()
    return executable


def _install(python: Python, home: Path, executable: Path) -> None:
    subprocess.run(
        [python.executable, "-I", "-m", "venv", "--without-pip", str(home)],
        env=tool_environment(python),
        check=True,
    )
    # What is in the tools' environment (pytest, tqdm, the build back end) can be imported here too.
    tools = next(python.environment.glob("lib/python*/site-packages"))
    packages = next(home.glob("lib/python*/site-packages"))
    (packages / "tools.pth").write_text(f"{tools}\n")
    command = [str(python.tool_python), "-m", "pip", "--python", str(executable), "install"]
    command += ["--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps"]
    command += ["--ignore-installed", "--config-settings=setup-args=-Dwerror=true"]
    command += [f"--config-settings=build-dir={home / 'build'}", str(ROOT)]
    must(python, command, f"the package does not build for Python {python.version}")
    shutil.rmtree(home / "build")
