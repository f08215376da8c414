# SPDX-License-Identifier: MIT
"""Connections, and the pipes that they are the ends of.

The connections of `Pipe()` are ends of a pipe in shared memory. Those that are made from a
descriptor, as `Listener` and `Client` make them, are the standard library's in all they do, and so
is the rest of the module: listeners, clients, their authentication, and `wait()`, which takes both
kinds.
"""

import contextlib
import multiprocessing.connection as _std
import os
from multiprocessing import reduction, resource_sharer
from multiprocessing.connection import Client, Listener, wait
from multiprocessing.context import get_spawning_popen
from typing import Any

from . import _ramet

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]


class Connection(_ramet.Connection, _std.Connection):
    """One end of a pipe; or, if made from a descriptor, a connection of the standard library.

    It can be sent to other processes at any time, also through another connection or a queue. The
    other side reads the end of file once every process that had this end has closed it or is gone.
    """

    # A pickle of it carries what keeps the end open until it arrives, and nothing else must.
    _travels_counted = True

    def __reduce__(self) -> Any:
        if not self._ours:
            fd = reduction.DupFd(self.fileno())
            return _open_foreign, (type(self), fd, self.readable, self.writable)
        ref, counted = self._mention()
        parcel, fd = _send_along(self, ref, counted)
        return _open, (type(self), ref, parcel, fd, self.readable, self.writable)


def _send_along(connection: Connection, ref: bytes, counted: bool) -> tuple[Any, Any]:
    """What goes along with the reference: something that keeps the end open, and a descriptor."""
    fd = connection._socket()
    parcel = None if counted else _ramet.Parcel(ref)
    if counted or get_spawning_popen() is not None:
        # The message keeps the end open; or who starts the process keeps the parcel, for the child.
        return parcel, None if fd < 0 else reduction.DupFd(fd)
    if fd < 0:
        raise OSError("a connection that came without a descriptor cannot be pickled")
    return parcel, _Fetched(parcel, fd)


class _Fetched:
    """A descriptor that waits to be fetched, and a parcel that is kept until it is."""

    def __init__(self, parcel: Any, fd: int) -> None:
        kept = [parcel]
        new_fd = os.dup(fd)

        def send(conn: Any, pid: int) -> None:
            reduction.send_handle(conn, new_fd, pid)

        def close() -> None:
            kept.clear()
            os.close(new_fd)

        self._id = resource_sharer._resource_sharer.register(send, close)

    def detach(self) -> int:
        """Fetch the descriptor; once."""
        with resource_sharer._resource_sharer.get_connection(self._id) as conn:
            return reduction.recv_handle(conn)


def _open(
    cls: type, ref: bytes, parcel: bytes | None, fd: Any, readable: bool, writable: bool
) -> Connection:
    """The connection that was pickled."""
    connection = cls._open(ref, readable, writable)
    if parcel is not None:
        _ramet.open_parcel(parcel)
    if fd is not None:
        # Its sender may be gone by now. Then the connection works all the same, but for fileno().
        with contextlib.suppress(OSError, EOFError):
            connection._adopt(fd.detach())
    return connection


def _open_foreign(cls: type, fd: Any, readable: bool, writable: bool) -> Connection:
    return cls(fd.detach(), readable, writable)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return the two connections of a pipe.

    If `duplex` is false, the first can only receive and the second only send.
    """
    return Connection._pipe(duplex)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
