# SPDX-License-Identifier: MIT
"""The workers' side of joblib.py, and what goes between the two sides.

Imports nothing of joblib when it is imported itself: the environment variables that say how many
threads numerical libraries may have must stand before joblib has loaded these.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
from multiprocessing.pool import ExceptionWithTraceback
from multiprocessing.reduction import ForkingPickler
from typing import Any

__all__ = ["Cargo", "begin", "call"]


def begin(environment: dict[str, str], start_method: str) -> None:
    """The initializer of a worker."""
    os.environ.update(environment)
    from .joblib import register

    register(start_method=start_method)  # for calls of Parallel in tasks


class Cargo:
    """Anything, pickled as cloudpickle does, with its buffers apart; what arrives is the thing."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        # Now and not before: the objects of ours that are in it are counted by the message.
        buffers: list[pickle.PickleBuffer] = []
        file = io.BytesIO()
        _pickler(file, buffers).dump(self.content)
        return _unload, (file.getvalue(), buffers)


def _unload(data: bytes, buffers: list[Any]) -> Any:
    return pickle.loads(data, buffers=buffers)


def _pickler(file: io.BytesIO, buffers: list[pickle.PickleBuffer]) -> Any:
    try:
        import cloudpickle
    except ImportError:
        from joblib.externals import cloudpickle  # a copy of it

    pickler = cloudpickle.Pickler(file, pickle.HIGHEST_PROTOCOL, buffers.append)
    pickler.dispatch_table = collections.ChainMap(
        ForkingPickler._extra_reducers, cloudpickle.Pickler.dispatch_table
    )
    return pickler


def call(function: Any) -> Cargo:
    """Call what joblib gave; a cargo of (True, result) or (False, exception)."""
    try:
        outcome = True, function()
    except Exception as error:
        outcome = False, ExceptionWithTraceback(error, error.__traceback__)
    return Cargo(outcome)
