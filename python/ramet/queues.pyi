# SPDX-License-Identifier: MIT
import multiprocessing.queues as _std
from collections.abc import Iterable
from queue import Empty as Empty
from queue import Full as Full
from typing import Any, Generic, Self, SupportsIndex, TypeVar

from ._ramet import ShutDown as ShutDown

_T = TypeVar("_T")

class Queue(_std.Queue[_T], Generic[_T]):
    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None: ...
    @property
    def lost(self) -> int: ...
    def put_many(
        self, items: Iterable[_T], block: bool = True, timeout: float | None = None
    ) -> None: ...
    def get_many(
        self,
        max_items: SupportsIndex | None = None,
        block: bool = True,
        timeout: float | None = None,
    ) -> list[_T]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def shutdown(self, immediate: bool = False) -> None: ...

class JoinableQueue(Queue[_T], _std.JoinableQueue[_T]): ...

class SimpleQueue(_std.SimpleQueue[_T], Generic[_T]):
    def __init__(self, *, ctx: Any = None) -> None: ...
    @property
    def lost(self) -> int: ...
