# SPDX-License-Identifier: MIT
"""The fork server, as its clients see it: finding it, starting it, asking it for children.

A server is a fresh interpreter that forks on request. Its clients, the process that started it and
the server's children, hold one end of a socket pair; a request is one message through it, with
descriptors. So there is no name to protect or to remove, a server that died shows as a hung-up
socket, and the server ends when the last client has closed its end or died.

A server is used only by a process for which a new one would be the same: same executable, flags,
credentials, limits, and variables that are read when a program starts.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from multiprocessing import util
from subprocess import _args_from_interpreter_flags
from typing import Any

from . import _ramet, bootstrap, context, spawn

__all__ = ["ensure_running", "get_inherited_fds", "request", "set_forkserver_preload"]

# The most descriptors that one message can carry, and those of a request that are ours.
MAX_FDS = 253
FIXED_FDS = 8

# How often a server is started anew for one child: one that always dies must not be for ever.
ATTEMPTS = 3

# A request: whether the child ends with its parent, and which optional descriptors follow.
REQUEST = struct.Struct("=II")
HAS_TOKEN, HAS_TRACKER, HAS_STDOUT, HAS_STDERR = 1, 2, 4, 8
# The answer to it: the child's pid, with its pidfd, or a negative errno; later its exit code.
NUMBER = struct.Struct("=q")

# Variables that have their effect when a program starts: a running server cannot take them on.
EXEC_TIME_VARIABLES = ("PYTHON", "LD_", "GLIBC_", "MALLOC_", "ASAN_", "UBSAN_", "TSAN_", "LSAN_")
LIMITS = [getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")]


def _server_key() -> Any:
    """What is fixed in a server when it starts: it may serve only those who have the same."""
    return (
        spawn.get_executable(),
        tuple(_args_from_interpreter_flags()),
        context.replaced,
        os.getresuid(),
        os.getresgid(),
        tuple(os.getgroups()),
        tuple(resource.getrlimit(limit) for limit in LIMITS),
        tuple(sorted(kv for kv in os.environ.items() if kv[0].startswith(EXEC_TIME_VARIABLES))),
    )


class ForkServer:
    """The client's side of a fork server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._key: Any = None
        self._forkserver_pid: int | None = None  # None too where another process started it
        self._inherited_fds: list[int] | None = None
        self._preload_modules = ["__main__"]
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        # The server is our parent's child, but we may use it as well.
        self._lock = threading.Lock()
        self._forkserver_pid = None

    def set_forkserver_preload(self, modules_names: list[str]) -> None:
        """Set the modules that a server tries to import when it starts."""
        if not all(type(name) is str for name in modules_names):
            raise TypeError("module_names must be a list of strings")
        self._preload_modules = modules_names

    def get_inherited_fds(self) -> list[int] | None:
        """The descriptors that came with our own request; None if no server started us."""
        return self._inherited_fds

    def inherit(self, client: socket.socket, key: Any, fds: list[int]) -> None:
        """In a child of the server: use the same server, under what was true for the parent."""
        self._socket, self._key, self._inherited_fds = client, key, fds

    # --- the server's life

    def ensure_running(self) -> None:
        """Make sure that there is a server for us."""
        with self._lock:
            self._ensure_running()

    def _ensure_running(self) -> None:
        key = _server_key()
        if self._socket is not None:
            if self._key == key and not self._hung_up():
                return
            self._leave()
        ours, theirs = bootstrap.socket_pair(socket.SOCK_SEQPACKET)
        try:
            self._forkserver_pid = self._start(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket, self._key = ours, key

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def _start(self, theirs: socket.socket) -> int:
        preload, main_path = list(self._preload_modules), None
        if "__main__" in preload:
            main_path = spawn.get_preparation_data("ignore").get("init_main_from_path")
        arena = _ramet.arena_fd()
        command = spawn.interpreter(
            "from ramet.forkserver_main import main; "
            f"main({theirs.fileno()}, {arena}, {preload!r}, {main_path!r}, {sys.argv!r}, "
            f"{context.replaced})"
        )
        # ^C at a terminal goes to all; the server is no part of what is to be interrupted, not even
        # while it starts. It unblocks the signal once it ignores it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return util.spawnv_passfds(spawn.get_executable(), command, [theirs.fileno(), arena])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _leave(self) -> None:
        """Give up the server, which goes on while others use it, and wait for it if it is dead."""
        hung_up = self._hung_up()
        self._socket.close()
        self._socket = self._key = None
        pid, self._forkserver_pid = self._forkserver_pid, None
        if pid is not None and hung_up:
            self._reap(pid)

    def _reap(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            _ramet.reap(pid)

    def _stop(self) -> None:
        """Give up the server and wait for its end, which comes when no other process uses it."""
        with self._lock:
            if self._socket is None:
                return
            pid = self._forkserver_pid
            self._leave()
            if pid is not None:
                self._reap(pid)

    # --- requests

    def request(self, tie: int, fixed: list[int | None], fds: list[int]) -> tuple[int, int, int]:
        """Have a child made; its pid, its pidfd, and a descriptor that will give its exit code.

        `fixed` is: the child's end of the data socket, our pidfd, the token, the tracker. `fds` is
        what the process object names.
        """
        if len(fds) + FIXED_FDS > MAX_FDS:
            raise ValueError("too many fds")
        for _ in range(ATTEMPTS):
            answer = self._ask(tie, fixed, fds)
            if answer is None:
                # The server died before it answered. If it made the child before that, then nobody
                # sends that one a process object, and it ends.
                continue
            return answer
        raise OSError(errno.ECONNRESET, "the fork server does not answer")

    def _ask(
        self, tie: int, fixed: list[int | None], fds: list[int]
    ) -> tuple[int, int, int] | None:
        with self._lock:
            self._ensure_running()
            status, theirs = bootstrap.socket_pair()
            try:
                self._send(theirs, tie, fixed, fds)
            except (BrokenPipeError, ConnectionResetError):
                status.close()
                return None
            except BaseException:
                status.close()
                raise
            finally:
                theirs.close()
        with status:
            try:
                data, received, _, _ = socket.recv_fds(
                    status, NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                return None
            if not data:
                return None
            (pid,) = NUMBER.unpack(data)
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            return pid, received[0], status.detach()

    def _send(
        self, status: socket.socket, tie: int, fixed: list[int | None], fds: list[int]
    ) -> None:
        data, ourselves, token, tracker = fixed
        flags = 0
        passed = [data, status.fileno(), ourselves, self._socket.fileno()]
        standard = [fd if _is_open(fd) else None for fd in (1, 2)]
        for flag, fd in zip(
            (HAS_TOKEN, HAS_TRACKER, HAS_STDOUT, HAS_STDERR),
            (token, tracker, *standard),
            strict=True,
        ):
            if fd is not None:
                flags |= flag
                passed.append(fd)
        message = REQUEST.pack(tie, flags)
        socket.send_fds(self._socket, [message], passed + fds, socket.MSG_NOSIGNAL)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def state() -> dict[str, Any]:
    """What a child of the server must take on to be like one that we had started ourselves."""
    with open("/proc/thread-self/status", "rb") as status:
        umask = next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:"))
    return {
        "environ": dict(os.environb),
        "umask": umask,
        "signals": {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())},
        "cpus": os.sched_getaffinity(0),
        "key": _forkserver._key,
    }


_forkserver = ForkServer()
ensure_running = _forkserver.ensure_running
get_inherited_fds = _forkserver.get_inherited_fds
request = _forkserver.request
set_forkserver_preload = _forkserver.set_forkserver_preload
