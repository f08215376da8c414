# SPDX-License-Identifier: MIT
"""Managers: the standard library's, whose server processes are started by ramet."""

import multiprocessing.managers as _std
from multiprocessing.managers import BaseProxy, Namespace, RemoteError, Token
from typing import Any

from . import context as _context

__all__ = [
    "BaseManager",
    "BaseProxy",
    "Namespace",
    "RemoteError",
    "SharedMemoryManager",
    "SyncManager",
    "Token",
]


class BaseManager(_std.BaseManager):
    """Base of managers. One that is given no context starts its server by ramet's present one."""

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        if ctx is None:
            ctx = _context._default_context.get_context()
        super().__init__(address, authkey, serializer, ctx, shutdown_timeout=shutdown_timeout)


# Each class below has its own registry, as in the standard library: what a program registers with
# BaseManager must not hide what the others offer.


class SyncManager(BaseManager, _std.SyncManager):
    __doc__ = _std.SyncManager.__doc__
    _registry = _std.SyncManager._registry.copy()


class SharedMemoryManager(BaseManager, _std.SharedMemoryManager):
    __doc__ = _std.SharedMemoryManager.__doc__
    _registry = _std.SharedMemoryManager._registry.copy()


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
