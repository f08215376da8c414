# SPDX-License-Identifier: MIT
"""Starting a process by forkserver: a copy of a server that was a fresh interpreter.

The server makes the child, is its parent to the kernel, and waits for it. We hold the child's
pidfd, so that its end and signals to it are as direct as for a child of our own; its exit code
comes from the server. If the server dies before that, the code is lost (255) but not the child.
"""

import contextlib
import os
import socket
from multiprocessing import util
from typing import Any

from . import _ramet, bootstrap, forkserver, parent_death, resource_tracker, spawn
from .pidfd import ended
from .popen_spawn import Bootstrapped

__all__ = ["Popen"]


class _InheritedFd:
    """A descriptor among those that came with the request."""

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        return forkserver.get_inherited_fds()[self._index]


class Popen(Bootstrapped):
    """A child that was started by the fork server."""

    method = "forkserver"
    DupFd = _InheritedFd

    def __init__(self, process_obj: Any) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Have the child inherit a descriptor; its place among those that it inherits."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: Any) -> None:
        _ramet.join()
        forkserver.ensure_running()
        payload, kept = bootstrap.dump(
            self, forkserver.state(), spawn.preparation_for(process_obj), process_obj
        )
        # Whatever thread this is: the server forks in its first one, and watches us for the child.
        ends = parent_death.ends_with_us(process_obj)
        tie = parent_death.BY_SIGNAL if ends else parent_death.NOT
        ourselves = os.pidfd_open(self._owner)
        ours, theirs = bootstrap.socket_pair()
        try:
            fixed = [
                theirs.fileno(),
                ourselves,
                bootstrap.token_for(process_obj),
                resource_tracker.inheritable_fd(),
            ]
            pid, sentinel, self._code = forkserver.request(tie, fixed, self._fds)
            self._adopt_from_server(pid, sentinel)
            theirs.close()
            self._give(ours, payload, kept)
        finally:
            os.close(ourselves)
            theirs.close()
            ours.close()

    def _adopt_from_server(self, pid: int, sentinel: int) -> None:
        self._close_code = util.Finalize(self, util.close_fds, (self._code,))
        self._adopt_known(pid, sentinel)

    def close(self) -> None:
        """Close the descriptors."""
        super().close()
        self._close_code()

    def _collect(self, flag: int) -> int | None:
        if self.returncode is None and os.getpid() == self._owner:
            if ended(self.sentinel, 0 if flag == os.WNOHANG else None):
                self.returncode = self._told_code()
                with contextlib.suppress(OSError):
                    _ramet.reap(self.pid)  # as the server has, unless it died before
        return self.returncode

    def _told_code(self) -> int:
        # The server tells as soon as it sees what we have seen. Only looked at, not taken, so that
        # several threads may come here at once.
        with bootstrap.socket_of(os.dup(self._code)) as status:
            try:
                data = status.recv(forkserver.NUMBER.size, socket.MSG_PEEK)
            except ConnectionResetError:
                data = b""
        if len(data) < forkserver.NUMBER.size:
            return _ramet.UNKNOWN_EXIT
        return forkserver.NUMBER.unpack(data)[0]
