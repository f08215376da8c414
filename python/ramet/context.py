# SPDX-License-Identifier: MIT
"""Contexts and the process classes that belong to them.

A context is the interface of the package with one start method. Ours are the standard library's
contexts (and their processes its processes), so that what asks for a `BaseContext` or a
`BaseProcess` takes them; only what the factories make, and how a process starts, is ramet's.

Modules that make objects are imported when the first one is made: a program pays for what it uses.
"""

from __future__ import annotations

import multiprocessing.context as _std
import multiprocessing.process as _registry
import os
import sys
from multiprocessing.context import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    assert_spawning,
    get_spawning_popen,
    set_spawning_popen,
)

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AuthenticationError",
    "BaseContext",
    "BufferTooShort",
    "DefaultContext",
    "ForkContext",
    "ForkProcess",
    "ForkServerContext",
    "ForkServerProcess",
    "Process",
    "ProcessError",
    "SpawnContext",
    "SpawnProcess",
    "TimeoutError",
    "assert_spawning",
    "get_spawning_popen",
    "set_spawning_popen",
]


# ------------------------------------------------------------ programs without a main guard


def importing_main() -> bool:
    """Whether this process was started by spawn or forkserver and is importing the main module."""
    return getattr(_registry._current_process, "_inheriting", False)


def _line_of_main() -> str:
    """Where the main module stands that is being imported, for a message."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "__mp_main__":
            return f"{frame.f_code.co_filename}, line {frame.f_lineno},"
        frame = frame.f_back
    return "The main module"


def missing_guard(deed: str) -> RuntimeError:
    """The error for a main module that does `deed` whenever it is imported."""
    error = RuntimeError(
        f"{_line_of_main()} {deed} whenever the file is imported.\n"
        "A process started by spawn or forkserver imports the main module, to find its functions\n"
        "there, so that lines meant for the main program alone must stand under a guard:\n"
        "\n"
        "    if __name__ == '__main__':\n"
        "        ...\n"
    )
    error.missing_guard = True  # type: ignore[attr-defined]
    return error


# ------------------------------------------------------------------------------------ processes

# Modules, imported with the first process; a forked child finds them without an import statement,
# which would touch a good many pages of what it shares with its parent.
_child: Any = None
_popen_fork: Any = None


def _import_child() -> None:
    global _child
    from . import child as _child


def _import_popen_fork() -> None:
    global _popen_fork
    _import_child()
    from . import popen_fork as _popen_fork


class _Starting:
    """What our process classes add to the standard library's."""

    _start_method: str | None

    # True on a process whose starter itself reports why the child could not begin, with
    # popen.bootstrap_error(): the child is then silent about it.
    _starter_reports = False
    # False on a process whose child is to run without the main module of this program.
    _imports_main = True

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        context = _default_context.get_context()
        return context.Process._Popen(process_obj)

    def start(self) -> None:
        """Start the process."""
        current = _registry._current_process
        if not (current._config.get("daemon") and isinstance(current, _Starting)):
            super().start()  # type: ignore[misc]
            return
        # The standard library denies a daemonic process children, which would outlive it. Those of
        # ours end with it, daemonic or not (parent_death.py); otherwise this is what it does.
        self._check_closed()  # type: ignore[attr-defined]
        assert self._popen is None, "cannot start a process twice"
        assert self._parent_pid == os.getpid(), (  # type: ignore[attr-defined]
            "can only start a process object created by current process"
        )
        _registry._cleanup()
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]
        _registry._children.add(self)

    async def ajoin(self: Any) -> None:
        """Wait, as a task of asyncio, until the process has ended."""
        if self._popen is None or self._popen.poll() is None:
            from .aio import readable

            await readable(self.sentinel)
        self.join()

    @staticmethod
    def _check_start() -> None:
        if importing_main():
            raise missing_guard("starts a process")

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        if self._start_method is not None:
            _default_context._actual_context = _concrete_contexts[self._start_method]
        if _child is None:
            _import_child()
        return _child.bootstrap(self, parent_sentinel)


class Process(_Starting, _std.Process):
    """A process, started by the method that is set when it starts."""


class ForkProcess(_Starting, _std.ForkProcess):
    """A process that starts as a copy of its parent."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        if importing_main():
            raise missing_guard("starts a process")
        if _popen_fork is None:
            _import_popen_fork()
        return _popen_fork.Popen(process_obj)


class SpawnProcess(_Starting, _std.SpawnProcess):
    """A process that starts as a fresh interpreter."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from .popen_spawn import Popen

        SpawnProcess._check_start()
        return Popen(process_obj)


class ForkServerProcess(_Starting, _std.ForkServerProcess):
    """A process that starts as a copy of a server which was a fresh interpreter."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        from .popen_forkserver import Popen

        ForkServerProcess._check_start()
        return Popen(process_obj)


# ------------------------------------------------------------------------------------- contexts


class BaseContext(_std.BaseContext):
    """What all contexts have in common: the factories."""

    def cpu_count(self) -> int:
        """Return the number of processors that this process may use."""
        from .cpus import cpu_count

        return cpu_count()

    def Manager(self) -> Any:
        """Return a manager with a running server process."""
        from .managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex: bool = True) -> Any:
        """Return the two connections of a pipe."""
        from .connection import Pipe

        return Pipe(duplex)

    def Lock(self) -> Any:
        """Return a non-recursive lock."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> Any:
        """Return a recursive lock."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock: Any = None) -> Any:
        """Return a condition, on `lock` or on a recursive lock of its own."""
        from .synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> Any:
        """Return a semaphore with `value` permits."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """Return a semaphore that never has more than `value` permits."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> Any:
        """Return an event."""
        from .synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(self, parties: int, action: Any = None, timeout: float | None = None) -> Any:
        """Return a barrier for `parties` processes or threads."""
        from .synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> Any:
        """Return a queue, unbounded unless `maxsize` is positive."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """Return a queue with `task_done()` and `join()`."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> Any:
        """Return a queue with `get()`, `put()`, `empty()` and `close()` alone."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pool(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """Return a pool of worker processes."""
        from .pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return a shared ctypes object without a lock."""
        from .sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return a shared ctypes array without a lock."""
        from .sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a shared ctypes object, with a lock unless `lock` is false."""
        from .sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return a shared ctypes array, with a lock unless `lock` is false."""
        from .sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def freeze_support(self) -> None:
        """Run the child, and exit, if this is a frozen program that was started as one."""
        if getattr(sys, "frozen", False):
            from .spawn import freeze_support

            freeze_support()

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Set the modules that the fork server tries to import when it starts."""
        from .forkserver import set_forkserver_preload

        set_forkserver_preload(module_names)

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of `method`, or this one."""
        if method is None:
            return self
        try:
            return _concrete_contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None


class DefaultContext(_std.DefaultContext, BaseContext):
    """The context behind the functions of the package; its method can be set once."""

    Process = Process

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of `method`, or of the method that is set, fixing it."""
        return super().get_context(method)

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the start method, fixing it; None if it is not fixed and `allow_none` is true."""
        return super().get_start_method(allow_none)

    def get_all_start_methods(self) -> list[str]:
        """Return the start methods there are, the default one first."""
        return super().get_all_start_methods()

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Set the method by which processes start; a second time only with `force`."""
        if self._actual_context is not None and not force and importing_main():
            raise missing_guard("sets the start method")
        super().set_start_method(method, force)


class ForkContext(BaseContext, _std.ForkContext):
    """The context of the start method fork."""

    Process = ForkProcess


class SpawnContext(BaseContext, _std.SpawnContext):
    """The context of the start method spawn."""

    Process = SpawnProcess


class ForkServerContext(BaseContext, _std.ForkServerContext):
    """The context of the start method forkserver."""

    Process = ForkServerProcess


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}

# The standard library's default differs between versions (fork, then forkserver from 3.14).
_default_context = DefaultContext(
    _concrete_contexts[_std._default_context._default_context.get_start_method()]
)


# Whether `multiprocessing` means ramet here; see replace.py, which sets it for good.
replaced = False


def _force_start_method(method: str) -> None:
    _default_context._actual_context = _concrete_contexts[method]


def __getattr__(name: str) -> Any:
    # Among them `reduction`, which a program replaces through a context's `reducer`.
    return getattr(_std, name)
