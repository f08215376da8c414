# SPDX-License-Identifier: MIT
"""The way of a process object into a child that was not made by forking its parent.

Parent and child share a socket pair. The parent writes pickles into it (what the child must be
like, then the process object) and closes its side for writing. The child answers with one record,
and closes its end:

    R            the process object is there and is about to run
    G message    the main module has no guard; the message says what to write
    E traceback  something else failed before the process object could run

A child that is gone without an answer was killed on the way. Until the answer, or the child's
death, the parent keeps the objects of ours that it has pickled: what travels is a reference, which
keeps nothing alive, and the child has to find the object there when it opens it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing.context as _std_context
import multiprocessing.process as _std_process
import multiprocessing.reduction as _std_reduction
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing import util

from . import context
from .child import exit_code

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any, BinaryIO

READY = b"R"
NO_GUARD = b"G"
FAILED = b"E"


# -------------------------------------------------------------------------------------- sockets
# Whatever time-out a program has set for its own sockets (socket.setdefaulttimeout), which would
# also have their descriptors not block, in whichever process they are.


def socket_pair(kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.settimeout(None)
    theirs.settimeout(None)
    return ours, theirs


def socket_of(fd: int) -> socket.socket:
    """The socket of a descriptor, which it comes to own; it blocks."""
    made = socket.socket(fileno=fd)
    made.settimeout(None)
    return made


# ------------------------------------------------------------------------------------- pickling


@functools.lru_cache(maxsize=512)
def _is_handle(cls: type) -> bool:
    """Whether objects of a class may stand for something in the arena: all that are ramet's."""
    if issubclass(cls, _std_process.BaseProcess | _std_context.BaseContext):
        return False
    if getattr(cls, "_travels_counted", False):
        return False  # its pickle carries a handle that keeps it, see connection.py
    return any(str(base.__module__).partition(".")[0] == "ramet" for base in cls.__mro__)


@functools.lru_cache(maxsize=8)
def _keeping(base: type) -> type:
    """The pickler `base`, which also lists the handles that it meets."""

    class KeepingPickler(base):
        def __init__(self, file: BinaryIO, kept: list[Any]) -> None:
            super().__init__(file, pickle.HIGHEST_PROTOCOL)
            self._kept = kept

        def reducer_override(self, obj: Any) -> Any:
            if _is_handle(type(obj)):
                self._kept.append(obj)
            override = getattr(super(), "reducer_override", None)
            return NotImplemented if override is None else override(obj)

    return KeepingPickler


def _may_be_typed_in(target: Any) -> bool:
    """Whether it is worth asking whether the child finds the target by its name."""
    main = sys.modules["__main__"]
    at_a_prompt = getattr(main, "__file__", None) is None or hasattr(sys, "ps1")
    return at_a_prompt and target is not None


def _by_value(target: Any) -> Any:
    from .functions import by_value  # late: a child has no need of it, and few parents have

    return by_value(target)


def _dump(pickler: Any, obj: Any, file: io.BytesIO, kept: list[Any]) -> None:
    """Pickle one object; the target of a process goes by value if its name is not enough."""
    start = file.tell()
    target = getattr(obj, "_target", None)
    try:
        pickler(file, kept).dump(obj)
    except Exception:
        substitute = _by_value(target)
        if substitute is None:
            raise
    else:
        substitute = _by_value(target) if _may_be_typed_in(target) else None
        if substitute is None:
            return
    file.seek(start)
    file.truncate()
    kept.append(target)  # and with it what it refers to, which no pickler of ours has seen
    obj._target = substitute
    try:
        pickler(file, kept).dump(obj)
    finally:
        obj._target = target


def dump(popen: Any, *objects: Any) -> tuple[memoryview, list[Any]]:
    """Pickle objects for the child that `popen` starts; also the handles that are among them."""
    file = io.BytesIO()
    kept: list[Any] = []
    reduction = _std_context.reduction  # which a program may have replaced
    context.set_spawning_popen(popen)
    try:
        for obj in objects:
            if reduction is _std_reduction:
                _dump(_keeping(reduction.ForkingPickler), obj, file, kept)
            else:
                # A pickler that we know nothing of: everything is kept.
                kept.append(vars(obj).copy() if hasattr(obj, "__dict__") else obj)
                reduction.dump(obj, file)
    finally:
        context.set_spawning_popen(None)
    return file.getbuffer(), kept


# --------------------------------------------------------------------------------- in the parent


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


class Starting:
    """The parent's side of a child that is on its way, and what is kept for it."""

    def __init__(self, ours: socket.socket, kept: list[Any]) -> None:
        self._kept = kept
        self._answer = b""
        # Threads may wait for one child at once, and a signal handler may ask in the midst of that.
        self._lock = threading.RLock()
        self._collecting = False
        self._fds = [ours.detach()]
        self._close = util.Finalize(self, _close_all, (self._fds,))

    def collect(self, gone: bool) -> None:
        """Take up the child's answer, as far as it is there; from one that is gone, all of it."""
        with self._lock:
            if self._collecting or not self._fds:
                return
            self._collecting = True
            try:
                self._collect(gone)
            finally:
                self._collecting = False

    def _collect(self, gone: bool) -> None:
        try:
            while chunk := os.read(self._fds[0], 65536):
                self._answer += chunk
        except BlockingIOError:
            if not gone and not self._answer.startswith(READY):
                return
        except ConnectionResetError:
            pass  # it went without reading everything
        self._close()
        self._kept.clear()

    def error(self, pid: int, code: int | None) -> RuntimeError | None:
        """Why the child did not begin; None if it did, or is on its way."""
        kind, text = self._answer[:1], self._answer[1:].decode(errors="replace")
        if kind == READY or self._fds:
            return None
        if kind == NO_GUARD:
            error = RuntimeError(text)
            error.missing_guard = True  # type: ignore[attr-defined]
            return error
        if kind == FAILED:
            return RuntimeError(f"process {pid} failed before it could begin:\n\n{text}")
        return RuntimeError(f"process {pid} ended with exit code {code} before it could begin")


def send(ours: socket.socket, payload: memoryview, kept: list[Any]) -> Starting:
    """Give the child what was pickled for it. That it is gone already, its exit code will say."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        ours.sendall(payload, socket.MSG_NOSIGNAL)
        ours.shutdown(socket.SHUT_WR)
    ours.setblocking(False)
    return Starting(ours, kept)


class ErrorToken:
    """The right to print that the main module has no guard, which only one of many children gets.

    It is an eventfd that holds 1 until a child takes it, and is never renewed: a main module does
    not change while its program runs, and how soon one child follows another says nothing.
    """

    def __init__(self) -> None:
        self._fd: int | None = None

    def fd(self) -> int:
        """The descriptor to give to a child that is about to start."""
        if self._fd is None:
            self._fd = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self._fd

    @staticmethod
    def take(fd: int) -> bool:
        """Whether the caller may print."""
        try:
            return os.eventfd_read(fd) > 0
        except BlockingIOError:
            return False


error_token = ErrorToken()


def token_for(process_obj: Any) -> int | None:
    """The descriptor of the token for a child, or None where its starter reports failures."""
    return None if getattr(process_obj, "_starter_reports", False) else error_token.fd()


# ---------------------------------------------------------------------------------- in the child


def _answer(fd: int, record: bytes) -> None:
    # SIGPIPE may be back to killing, if the main module wants it so; and the parent may be gone.
    with contextlib.suppress(OSError), socket_of(fd) as ours:
        ours.sendall(record, socket.MSG_NOSIGNAL)


def _failed(fd: int, name: str, error: BaseException, token: int | None) -> int:
    """Tell the parent what failed, and standard error if that is ours to do; the exit code."""
    if getattr(error, "missing_guard", False):
        _answer(fd, NO_GUARD + str(error).encode())
        if token is not None and ErrorToken.take(token) and sys.stderr is not None:
            sys.stderr.write(f"Process {name}:\nRuntimeError: {error}")
        return 1
    import traceback  # late: a child that begins has no need of it

    text = "".join(traceback.format_exception(error))
    _answer(fd, FAILED + text.encode(errors="replace"))
    if isinstance(error, SystemExit):
        return exit_code(error)
    if token is not None and sys.stderr is not None:
        sys.stderr.write(f"Process {name}:\n{text}")
    return 1


def run(
    fd: int,
    from_parent: Any,
    parent_sentinel: int,
    token: int | None,
    prepare: Callable[[Any], None],
) -> int:
    """Receive the process object and run it; the exit code.

    `from_parent` is a buffered reader of `fd`. `token` is None where the starter reports failures.
    """
    current = _std_process.current_process()
    if not from_parent.peek(1):
        return 1  # the parent is gone, or has taken another child instead of this one
    current._inheriting = True
    try:
        prepare(pickle.load(from_parent))
        process_obj = pickle.load(from_parent)
    except BaseException as error:
        from .pidfd import ended  # late: a child that begins has no need of it

        if ended(parent_sentinel):
            return 1
        return _failed(fd, current.name, error, token)
    finally:
        del current._inheriting
        from_parent.close()
    _answer(fd, READY)
    if token is not None:
        os.close(token)
    return process_obj._bootstrap(parent_sentinel)
