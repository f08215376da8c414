# SPDX-License-Identifier: MIT
"""What `make demo`, `make test`, `make bench` and the others do, after tools/start."""

import os
import signal
import subprocess
import sys

import checks
import conformance
import ecosystem
import full
from machine import ROOT, SetupError, make_environment, note, tool_environment, usable_python
from package import installed


def run_with_package(script: str) -> None:
    """Become the Python that has ramet installed, running `script`."""
    python = usable_python()
    executable = str(installed(python))
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execve(executable, [executable, script, *sys.argv[2:]], tool_environment(python))


def demo() -> None:
    run_with_package("examples/python/census.py")


def test() -> int:
    return checks.main([*checks.STAGES, conformance.STAGE])


def bench() -> None:
    run_with_package("bench/run.py")


def model() -> int:
    return subprocess.call([sys.executable, "tests/model/run.py", *sys.argv[2:]], cwd=ROOT)


def format_sources() -> None:
    python = usable_python()
    make_environment(python)
    env = tool_environment(python)
    for command in checks.format_commands(check=False):
        subprocess.run(command, cwd=ROOT, env=env, check=True)


COMMANDS = {
    "demo": demo,
    "test": test,
    "test-kill": full.test_kill,
    "test-long": full.test_long,
    "storm": full.storm,
    "model": model,
    "conformance": conformance.main,
    "test-ecosystem": ecosystem.main,
    "bench": bench,
    "format": format_sources,
}


def _end(signum, frame):
    raise SystemExit(128 + signum)


def main() -> int:
    signal.signal(signal.SIGTERM, _end)  # by way of `finally`: what the tests started is ended too
    # Ignored in a shell's background jobs, and inherited so; here programs are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return COMMANDS[sys.argv[1]]() or 0
    except SetupError as error:
        note(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
