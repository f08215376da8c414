# SPDX-License-Identifier: MIT
import multiprocessing.synchronize as _std
from multiprocessing.synchronize import Barrier as Barrier
from multiprocessing.synchronize import Condition as Condition
from multiprocessing.synchronize import RLock as RLock
from types import TracebackType
from typing import Any

from ._ramet import OwnerDiedWarning as OwnerDiedWarning

class _Acquires:
    async def aacquire(self) -> bool: ...
    async def __aenter__(self) -> bool: ...
    async def __aexit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

class Lock(_std.Lock, _Acquires):
    def __init__(self, *, ctx: Any = None) -> None: ...

class Semaphore(_std.Semaphore, _Acquires):
    def __init__(self, value: int = 1, *, ctx: Any = None) -> None: ...

class BoundedSemaphore(Semaphore): ...

class Event(_std.Event):
    def __init__(self, *, ctx: Any = None) -> None: ...
    async def await_(self) -> bool: ...
