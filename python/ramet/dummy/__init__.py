# SPDX-License-Identifier: MIT
"""The interface of the package over threads: `multiprocessing.dummy`."""

import multiprocessing.dummy as _std
from multiprocessing.dummy import *  # noqa: F403
from typing import Any

from . import connection as connection

__all__ = _std.__all__


def Pool(processes: Any = None, initializer: Any = None, initargs: Any = ()) -> Any:
    """Return a pool of threads."""
    from ..pool import ThreadPool

    return ThreadPool(processes, initializer, initargs)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
