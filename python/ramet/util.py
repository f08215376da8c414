# SPDX-License-Identifier: MIT
"""Logging, finalizers and after-fork hooks: the standard library's, one registry for both packages.

State that it rebinds (the logger, the flag of an exit under way) is looked up there at each access.
"""

import multiprocessing.util as _std
from multiprocessing.util import *  # noqa: F403
from typing import Any

__all__ = _std.__all__


def _cleanup_tests() -> None:
    """Stop our fork server too; called at the end of CPython's own tests."""
    from . import forkserver

    forkserver._forkserver._stop()
    _std._cleanup_tests()


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
