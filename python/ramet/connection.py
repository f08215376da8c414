# SPDX-License-Identifier: MIT
"""Connections, listeners and clients, with the standard library's framing and authentication."""

import multiprocessing.connection as _std
from multiprocessing.connection import Client, Connection, Listener, Pipe, wait
from typing import Any

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
