# SPDX-License-Identifier: MIT
"""The processes that run the tests, and what they leave behind."""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time


def become_subreaper():
    """Orphaned descendants become our children, so that we can find them."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants():
    """All processes that descend from this one: their states by pid."""
    parents = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat", "rb") as f:
                    rest = f.read().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(d)] = (int(rest[1]), rest[0])
    found, grew = {os.getpid()}, True
    while grew:
        new = {p for p, (pp, _) in parents.items() if pp in found} - found
        grew = bool(new)
        found |= new
    found.discard(os.getpid())
    return {p: parents[p][1] for p in found if p in parents}


def reap():
    """Take note of the children that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def clear_descendants(grace):
    """Let what a worker left behind finish, then kill it by process id."""
    end, leaked = time.monotonic() + grace, []
    while True:
        reap()
        left = [p for p, state in descendants().items() if state != b"Z"]
        if not left:
            return leaked
        if time.monotonic() > end:
            for p in left:
                try:
                    with open(f"/proc/{p}/cmdline", "rb") as f:
                        cmd = f.read().replace(b"\0", b" ").decode(errors="replace")[:150]
                    leaked.append(f"{p} {cmd.strip()}")
                    os.kill(p, signal.SIGKILL)
                except OSError:
                    pass
            end = time.monotonic() + 1.0
        time.sleep(0.02)


class Worker:
    """A process that runs tests and tells of each; in a session and folders of its own."""

    def __init__(self, bench, spec, log):
        r, w = os.pipe()
        os.set_blocking(r, False)
        self.fd, self.buffer = r, b""
        self.cwd = tempfile.mkdtemp(prefix="c", dir=bench.root)
        self.tmp = tempfile.mkdtemp(prefix="t", dir=bench.root)
        path = os.path.join(self.cwd, "..", "spec.json")
        with open(path, "w") as f:
            json.dump(dict(spec, fd=w), f)
        env = dict(os.environ, TMPDIR=self.tmp)
        env.pop("PYTHONPATH", None)
        env.pop("PYTHONHOME", None)
        self.proc = subprocess.Popen(
            [bench.python, bench.worker, path],
            cwd=self.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[w],
            start_new_session=True,
        )
        os.close(w)

    def records(self, wait):
        """Records that arrive within `wait` seconds (empty: none did)."""
        ready, _, _ = select.select([self.fd], [], [], wait)
        if ready:
            try:
                data = os.read(self.fd, 1 << 20)
            except BlockingIOError:
                data = b""
            if not data:
                time.sleep(min(wait, 0.02))
            self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        return [json.loads(x) for x in lines]

    def kill(self):
        """Kill it and all that it has started."""
        for p in list(descendants()):
            try:
                os.kill(p, signal.SIGKILL)
            except OSError:
                pass
        self.proc.wait()

    def close(self):
        """Remove its folders; the names of the temporary files that it left."""
        os.close(self.fd)
        left = sorted(os.listdir(self.tmp))
        shutil.rmtree(self.cwd, ignore_errors=True)
        shutil.rmtree(self.tmp, ignore_errors=True)
        return left
