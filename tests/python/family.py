# SPDX-License-Identifier: MIT
"""Start a program and keep sight of every process that descends from it.

For tests that judge a whole program: what it printed, how it ended, and what it left behind. A
descendant is known by a mark in the environment it was started with, which survives fork, exec,
a new session and the death of its parent. Touches only processes that carry its own mark.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
WATCHDOG = 600
MARK = "RAMET_TEST_FAMILY"


class Family:
    """One running program, with all the processes that it started directly or not."""

    def __init__(self, *argv, env=None):
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {}), name: value},
            text=True,
            start_new_session=True,
        )

    def members(self):
        """The living members by pid, each with its command line; a zombie is not alive."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace").strip()
        return found

    def kill(self):
        """Kill every member, also those which are started meanwhile."""
        while members := self.members():
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def finish(self):
        """Wait for the program's end; return (exit code, standard output, standard error)."""
        try:
            out, err = self.process.communicate(timeout=WATCHDOG)
        except subprocess.TimeoutExpired:
            members = self.members()
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"hung: {members}\n{out[-4000:]}\n{err[-4000:]}") from None
        return self.process.returncode, out, err

    def assert_gone(self):
        """Wait until no member is left; a member that stays is the failure."""
        end = time.monotonic() + WATCHDOG
        while members := self.members():
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"left behind: {members}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def run(*argv, env=None):
    """Run a program to its end and until the last of its processes is gone; as finish()."""
    with Family(*argv, env=env) as family:
        result = family.finish()
        family.assert_gone()
    return result


FUTEX = {"202", "98"}  # the system call's number, on x86-64 and aarch64
PRIVATE = 128


def until_asleep(thread):
    """Wait until a thread of this process sleeps on shared memory, as only ramet has it do."""
    while True:
        call = pathlib.Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
        if call[0] in FUTEX and not int(call[2], 16) & PRIVATE:
            return
        time.sleep(0.002)
