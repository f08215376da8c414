# SPDX-License-Identifier: MIT
"""Sending descriptors at any time: the standard library's sharer, one per process for both."""

import multiprocessing.resource_sharer as _std
from multiprocessing.resource_sharer import DupFd, stop
from typing import Any

__all__ = ["DupFd", "stop"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
