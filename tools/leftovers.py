# SPDX-License-Identifier: MIT
"""Runs commands and finds what they leave behind: processes and names in /dev/shm.

A run is known by an environment variable that all of its processes inherit, and by being the child
subreaper: what its processes orphan becomes its own child.  Both together also find a process that
cleared its environment or left its session.
"""

import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import time
import uuid

MARK = "RAMET_TEST_RUN"
GRACE_SECONDS = 10  # for helpers that end by themselves once their parent is gone
PR_SET_CHILD_SUBREAPER = 36


class TimedOut(Exception):
    """A command went past its limit and was killed with all that it started."""


class Run:
    """One run of the tests; not for use by several threads."""

    def __init__(self):
        self.id = uuid.uuid4().hex
        self._shm_before = _shm_names()
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")

    def call(self, command, env, limit, **options) -> int:
        """Run `command` to its end and return its exit code.

        All orphans are reaped meanwhile, as init would, since tests look whether a pid is gone.
        """
        child = subprocess.Popen(command, env={**env, MARK: self.id}, **options)
        previous = signal.signal(signal.SIGALRM, _raise_timed_out)
        signal.alarm(limit)
        try:
            while True:
                pid, status = os.waitpid(-1, 0)
                if pid == child.pid:
                    child.returncode = os.waitstatus_to_exitcode(status)
                    return child.returncode
        except BaseException:
            self.kill_all()
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    def processes(self) -> dict[int, str]:
        """The living processes of this run by pid, each with its command line."""
        _reap()
        mark = f"{MARK}={self.id}".encode()
        found = {}
        for pid in _pids():
            if pid == os.getpid():
                continue
            with contextlib.suppress(OSError):  # gone, or not ours to read
                mine = mark in _read(pid, "environ").split(b"\0") or _parent(pid) == os.getpid()
                if mine and _state(pid) != "Z":
                    command = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
                    found[pid] = command.strip()
        return found

    def kill_all(self) -> None:
        """Kill what is left of the run."""
        for _ in range(50):
            alive = self.processes()
            if not alive:
                return
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def leftovers(self) -> list[str]:
        """A line for each process (now killed) and each name in /dev/shm that is still there."""
        give_up = time.monotonic() + GRACE_SECONDS
        while True:
            alive, names = self.processes(), self._orphaned_names()
            if not (alive or names) or time.monotonic() > give_up:
                break
            time.sleep(0.1)
        lines = [f"process {pid} survives: {command}" for pid, command in alive.items()]
        if alive:
            self.kill_all()
            names = self._orphaned_names()
        lines += [f"/dev/shm/{name} is left" for name in sorted(names)]
        self._shm_before |= names  # each is reported once
        return lines

    def _orphaned_names(self) -> set[str]:
        # A new name that some process has open or mapped belongs to somebody else's live run: ours
        # have all ended when this answer counts.
        new = _shm_names() - self._shm_before
        return new - _shm_in_use() if new else new


def _raise_timed_out(signum, frame):
    raise TimedOut


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def _stat(pid: int) -> list[str]:
    # The command's name is in parentheses and may hold anything.
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _state(pid: int) -> str:
    return _stat(pid)[0]


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _shm_names() -> set[str]:
    return set(os.listdir("/dev/shm"))


def _shm_in_use() -> set[str]:
    used = set()
    for pid in _pids():
        with contextlib.suppress(OSError):
            for line in _read(pid, "maps").decode(errors="replace").splitlines():
                if "/dev/shm/" in line:
                    used.add(line.partition("/dev/shm/")[2])
        for link in glob.glob(f"/proc/{pid}/fd/*"):
            with contextlib.suppress(OSError):
                used.add(os.readlink(link).removeprefix("/dev/shm/"))
    return used
