# SPDX-License-Identifier: MIT
"""Connections between threads: `multiprocessing.dummy.connection`."""

import multiprocessing.dummy.connection as _std
from multiprocessing.dummy.connection import *  # noqa: F403
from multiprocessing.dummy.connection import Connection
from typing import Any

__all__ = [*_std.__all__, "Connection"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
