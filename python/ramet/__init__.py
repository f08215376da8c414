# SPDX-License-Identifier: MIT
"""Multi-process parallelism on one crash-safe arena of shared memory, for Linux.

    import ramet as mp

The package has the interface of the standard library's `multiprocessing`, whose documentation
holds for it: processes, queues, pipes, locks, shared values and pools, under the start methods
fork, spawn and forkserver. What differs is what happens when something goes wrong: a process may be
killed at any moment, and whoever waits for it gets an error and does not hang; nothing is left
behind; and `put()` serialises what it is given at once, in the caller.
"""

from __future__ import annotations

from . import context as _context
from ._ramet import OwnerDiedWarning

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any

_default = _context._default_context

Array = _default.Array
AuthenticationError = _default.AuthenticationError
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
BufferTooShort = _default.BufferTooShort
Condition = _default.Condition
Event = _default.Event
JoinableQueue = _default.JoinableQueue
Lock = _default.Lock
Manager = _default.Manager
Pipe = _default.Pipe
Pool = _default.Pool
Process = _default.Process
ProcessError = _default.ProcessError
Queue = _default.Queue
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
SimpleQueue = _default.SimpleQueue
TimeoutError = _default.TimeoutError
Value = _default.Value
active_children = _default.active_children
allow_connection_pickling = _default.allow_connection_pickling
cpu_count = _default.cpu_count
current_process = _default.current_process
freeze_support = _default.freeze_support
get_all_start_methods = _default.get_all_start_methods
get_context = _default.get_context
get_logger = _default.get_logger
get_start_method = _default.get_start_method
log_to_stderr = _default.log_to_stderr
parent_process = _default.parent_process
reducer = _default.reducer
set_executable = _default.set_executable
set_forkserver_preload = _default.set_forkserver_preload
set_start_method = _default.set_start_method

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "OwnerDiedWarning",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "install",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]

# The levels of the logger's own messages.
SUBDEBUG = 5
SUBWARNING = 25


def install() -> None:
    """Have `multiprocessing` mean ramet, in this process and in those that it starts.

    Call it first of all. What it replaces, and what a program that was imported before sees of it,
    is told in ramet.replace.
    """
    from .replace import install  # here, since it imports all of both packages

    install()


# The standard library's package has these as attributes as soon as something has imported them.
_MODULES = frozenset(
    (
        "connection",
        "dummy",
        "forkserver",
        "heap",
        "managers",
        "pool",
        "process",
        "queues",
        "reduction",
        "resource_sharer",
        "resource_tracker",
        "shared_memory",
        "sharedctypes",
        "spawn",
        "synchronize",
        "util",
    )
)


def __getattr__(name: str) -> Any:
    if name == "ProcessPoolExecutor":  # here, since concurrent.futures takes long to import
        from .executor import ProcessPoolExecutor

        globals()[name] = ProcessPoolExecutor
        return ProcessPoolExecutor
    if name in _MODULES:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


del TYPE_CHECKING  # no name of the package
