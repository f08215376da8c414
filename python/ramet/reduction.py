# SPDX-License-Identifier: MIT
"""Pickling for other processes: the standard library's, with the reducers registered on it."""

import multiprocessing.reduction as _std
from multiprocessing.reduction import *  # noqa: F403
from multiprocessing.reduction import HAVE_SEND_HANDLE, AbstractReducer
from typing import Any

__all__ = [*_std.__all__, "AbstractReducer", "HAVE_SEND_HANDLE"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
