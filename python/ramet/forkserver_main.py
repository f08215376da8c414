# SPDX-License-Identifier: MIT
"""The fork server itself, and how its children begin.

One thread, no signal handlers: requests, the ends of children and the ends of their parents are all
descriptors in one selector. A daemonic child ends with the server by the kernel's signal, and with
its parent, which is no relation to the kernel, by the server's.
"""

import contextlib
import gc
import os
import pickle
import selectors
import signal
import socket
import sys
from multiprocessing import spawn as _std_spawn
from multiprocessing import util
from typing import Any, NoReturn

from . import _ramet, bootstrap, parent_death, process, resource_tracker, spawn
from .child import run as run_child
from .forkserver import (
    HAS_STDERR,
    HAS_STDOUT,
    HAS_TOKEN,
    HAS_TRACKER,
    MAX_FDS,
    NUMBER,
    REQUEST,
    _forkserver,
)

__all__ = ["main"]


class Request:
    """One request, taken apart; the descriptors are ours."""

    def __init__(self, message: bytes, fds: list[int]) -> None:
        self.all_fds = fds
        self.tie, flags = REQUEST.unpack(message)
        rest = iter(fds)
        self.data, self.status, self.parent, self.client = (next(rest) for _ in range(4))
        self.token, self.tracker, self.stdout, self.stderr = (
            next(rest) if flags & flag else None
            for flag in (HAS_TOKEN, HAS_TRACKER, HAS_STDOUT, HAS_STDERR)
        )
        self.inherited = list(rest)


class Child:
    """One child that is not yet known to be dead."""

    def __init__(self, pid: int, pidfd: int, status: int, parent: int | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.status = status
        self.parent = parent  # a pidfd, where the child is to end with it

    def fds(self) -> list[int]:
        return [fd for fd in (self.pidfd, self.status, self.parent) if fd is not None]


class Server:
    """The loop of the server."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.selector = selectors.DefaultSelector()
        self.children: set[Child] = set()
        # ^C is for those who do the work; and a child must stay a zombie until it is waited for,
        # also where the program ignores its children.
        self.old_handlers = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, signal.SIG_DFL),
        }
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def serve(self) -> None:
        """Serve until the last client is gone."""
        self.selector.register(self.requests, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.requests:
                    if not self.receive():
                        return
                elif (child := key.data) in self.children:
                    if key.fd == child.pidfd:
                        self.ended(child)
                    else:
                        self.orphaned(child)

    def receive(self) -> bool:
        """Take one request, if there is one; false when no client is left."""
        try:
            message, fds, flags, _ = socket.recv_fds(
                self.requests, REQUEST.size, MAX_FDS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return True
        if not message:
            return False
        if (
            flags & socket.MSG_CTRUNC
        ):  # our table of descriptors is full; the parent sees us hang up
            util.close_fds(*fds)
            return True
        request = Request(message, fds)
        kept: list[int] = []
        try:
            kept = self.fork(request)
        except OSError as error:
            _tell(request.status, -error.errno)
        finally:
            util.close_fds(*(fd for fd in request.all_fds if fd not in kept))
        return True

    def fork(self, request: Request) -> list[int]:
        """Make a child; the descriptors of the request that are now its record's."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            run_child(self.begin, request, server)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        child = Child(pid, pidfd, request.status, request.parent if request.tie else None)
        self.children.add(child)
        _tell(child.status, pid, pidfd)
        self.selector.register(pidfd, selectors.EVENT_READ, child)
        if child.parent is not None:
            self.selector.register(child.parent, selectors.EVENT_READ, child)
        return child.fds()

    def orphaned(self, child: Child) -> None:
        """The parent of a daemonic child is gone."""
        self.selector.unregister(child.parent)
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def ended(self, child: Child) -> None:
        """A child is gone; its parent is told after what it held was taken back."""
        info = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(OSError):
            _ramet.reap(child.pid)
        os.waitpid(child.pid, 0)
        _tell(child.status, info.si_status if info.si_code == os.CLD_EXITED else -info.si_status)
        self.children.remove(child)
        for fd in child.fds():
            with contextlib.suppress(KeyError):
                self.selector.unregister(fd)
            os.close(fd)

    # --- in the child

    def begin(self, request: Request, server: int) -> int:
        """Become what was asked for; the exit code."""
        if request.tie:
            parent_death.tie(parent_death.BY_SIGNAL, server, request.parent)
        self.requests.close()
        self.selector.close()
        for child in self.children:
            util.close_fds(*child.fds())
        os.close(request.status)
        for number, handler in self.old_handlers.items():
            signal.signal(number, handler)
        _take_standard(request.stdout, 1)
        _take_standard(request.stderr, 2)
        resource_tracker.inherit(request.tracker)
        from_parent = open(request.data, "rb", closefd=False)
        with contextlib.suppress(EOFError):
            state = pickle.load(from_parent)
            client = bootstrap.socket_of(request.client)
            _forkserver.inherit(client, state.pop("key"), request.inherited)
            _become(state)
        return bootstrap.run(
            request.data, from_parent, request.parent, request.token, spawn.prepare
        )


def _tell(status: int, number: int, *fds: int) -> None:
    """Send the parent of a child a number, if it still wants to know."""
    with contextlib.suppress(OSError), bootstrap.socket_of(os.dup(status)) as parent:
        socket.send_fds(parent, [NUMBER.pack(number)], fds, socket.MSG_NOSIGNAL)


def _take_standard(fd: int | None, place: int) -> None:
    if fd is None:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(fd, place)
    os.close(fd)


def _become(state: dict[str, Any]) -> None:
    """Take on what the parent has and a server cannot have had."""
    wanted = state["environ"]
    for name in [name for name in os.environb if name not in wanted]:
        del os.environb[name]
    for name, value in wanted.items():
        if os.environb.get(name) != value:
            os.environb[name] = value
    os.umask(state["umask"])
    with contextlib.suppress(OSError):  # a processor may have been taken from all of us meanwhile
        os.sched_setaffinity(0, state["cpus"])
    signal.pthread_sigmask(signal.SIG_SETMASK, state["signals"])


def _preload(modules: list[str], main_path: str | None) -> None:
    """Import what children are going to need; what fails here fails in them too, with a word."""
    if "__main__" in modules and main_path is not None:
        process.current_process()._inheriting = True
        try:
            _std_spawn.import_main_path(main_path)
        except (Exception, SystemExit):
            pass
        finally:
            del process.current_process()._inheriting
    for name in modules:
        with contextlib.suppress(Exception):
            __import__(name)


def main(
    requests: int,
    arena: int,
    preload: list[str],
    main_path: str | None,
    argv: list[str],
    replaced: bool = False,
) -> NoReturn:
    """Run the server, and exit. `replaced`: its children are to have ramet for multiprocessing."""
    for fd in (requests, arena):
        os.set_inheritable(fd, False)
    _ramet.attach(arena)
    os.close(arena)
    server = Server(bootstrap.socket_of(requests))
    if replaced:
        spawn._replace()
    sys.argv = argv  # which a main module may look at when it is imported
    _preload(preload, main_path)
    util._close_stdin()
    util._flush_std_streams()
    server.requests.setblocking(False)
    gc.freeze()  # children share what is here already; a collection would copy it to each
    server.serve()
    sys.exit(0)
