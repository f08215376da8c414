# SPDX-License-Identifier: MIT
"""`SharedMemory` and `ShareableList`: the standard library's, with its names and life-cycle."""

import multiprocessing.shared_memory as _std
from multiprocessing.shared_memory import ShareableList, SharedMemory
from typing import Any

__all__ = ["ShareableList", "SharedMemory"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
