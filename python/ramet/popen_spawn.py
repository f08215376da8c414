# SPDX-License-Identifier: MIT
"""Starting a process by spawn: a real exec of a fresh interpreter.

The child inherits the arena's descriptor, a pidfd of the parent, its end of the socket pair that
bootstrap.py describes, and what the pickled process object names; and the standard library's
resource tracker, if one runs already.

A starter that replaces children which died, as a pool does, must tell those that never began from
those that died at work, or it would start new ones for ever. It sets `_starter_reports = True` on
the process object before start(), which makes the child silent about such a failure, and when the
child is gone asks `popen.bootstrap_error()`. That is None for a child that began; otherwise a
RuntimeError to be raised, whose text says what failed in the child. If the main module has no
guard, the error has an attribute `missing_guard`, and its text is the advice alone.
"""

import os
import socket
from multiprocessing import util
from multiprocessing.popen_spawn_posix import _DupFd
from typing import Any

from . import _ramet, bootstrap, parent_death, popen_fork, resource_tracker, spawn

__all__ = ["Popen"]


class Bootstrapped(popen_fork.Popen):
    """A child that receives its process object through a socket pair."""

    _starting: bootstrap.Starting | None = None

    def _give(self, ours: socket.socket, payload: memoryview, kept: list[Any]) -> None:
        """Send the child its process object; without it, it must not stay."""
        try:
            self._starting = bootstrap.send(ours, payload, kept)
        except BaseException:
            self.kill()
            self.wait()
            raise

    def _collect(self, flag: int) -> int | None:
        return super().poll(flag)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        code = self._collect(flag)
        if self._starting is not None and os.getpid() == self._owner:
            self._starting.collect(gone=code is not None)
        return code

    def bootstrap_error(self) -> RuntimeError | None:
        """Why the child did not get as far as running its process object.

        None if it did, if it is still on its way, and in a process that did not start it.
        """
        code = self.poll()
        return None if self._starting is None else self._starting.error(self.pid, code)


class Popen(Bootstrapped):
    """A child that was started by spawn."""

    method = "spawn"
    DupFd = _DupFd

    def __init__(self, process_obj: Any) -> None:
        self._fds: set[int] = set()
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Have the child inherit a descriptor; its number there."""
        self._fds.add(fd)
        return fd

    def _launch(self, process_obj: Any) -> None:
        arguments = {
            "arena": _ramet.arena_fd(),
            "token": bootstrap.token_for(process_obj),
            "tracker": resource_tracker.inheritable_fd(),
        }
        payload, kept = bootstrap.dump(self, spawn.preparation_for(process_obj), process_obj)
        ourselves = os.pidfd_open(self._owner)
        ours, theirs = bootstrap.socket_pair()
        try:
            arguments |= {"data": theirs.fileno(), "parent": ourselves}
            self._fds.update(fd for fd in arguments.values() if fd is not None)
            command = spawn.get_command_line(
                **arguments,
                parent_pid=self._owner,
                tie=parent_death.tie_for(process_obj),
            )
            self._adopt(util.spawnv_passfds(spawn.get_executable(), command, self._fds))
            theirs.close()  # so that writing to a child that is gone ends
            self._give(ours, payload, kept)
        finally:
            os.close(ourselves)
            theirs.close()
            ours.close()
