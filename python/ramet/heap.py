# SPDX-License-Identifier: MIT
"""Shared memory for values: a block of the arena as a memoryview.

The heap of the standard library, `Heap` and `Arena`, is what it is there.
"""

import multiprocessing.heap as _std
import sys
from typing import Any

from . import _ramet

__all__ = ["BufferWrapper"]


class BufferWrapper:
    """`size` bytes of shared memory, zeroed; a handle that can be pickled."""

    __slots__ = ("__weakref__", "_block", "_size")

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size:n} out of range")
        if sys.maxsize <= size:
            raise OverflowError(f"Size {size:n} too large")
        self.__setstate__((_ramet.Block(size), size))

    def create_memoryview(self) -> memoryview:
        """Return the memory as a writable view, which keeps it alive."""
        return memoryview(self._block)

    def __getstate__(self) -> tuple[Any, int]:
        return self._block, self._size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self._block, self._size = state


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
