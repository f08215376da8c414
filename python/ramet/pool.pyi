# SPDX-License-Identifier: MIT
import multiprocessing.pool as _std
from collections.abc import Callable, Generator, Iterable, Mapping
from multiprocessing.pool import ThreadPool as ThreadPool
from typing import Any, Generic, Self, TypeVar

from .pool_workers import PoolTerminated as PoolTerminated
from .pool_workers import WorkerDied as WorkerDied

_S = TypeVar("_S")
_T = TypeVar("_T")

class ApplyResult(_std.ApplyResult[_T], Generic[_T]):
    def __await__(self) -> Generator[Any, None, _T]: ...

AsyncResult = ApplyResult

class MapResult(_std.MapResult[_T], Generic[_T]):
    def __await__(self) -> Generator[Any, None, list[_T]]: ...

class IMapIterator(_std.IMapIterator[_T], Generic[_T]):
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> _T: ...

class IMapUnorderedIterator(IMapIterator[_T]): ...

class Pool(_std.Pool):
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[_T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ApplyResult[_T]: ...
    def map_async(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[_T]: ...
    def starmap_async(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> MapResult[_T]: ...
    def imap(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int = 1
    ) -> IMapIterator[_T]: ...
    def imap_unordered(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], chunksize: int = 1
    ) -> IMapUnorderedIterator[_T]: ...
