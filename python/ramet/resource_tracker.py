# SPDX-License-Identifier: MIT
"""The standard library's tracker, which `SharedMemory` uses; ramet's own objects do not need it.

Nothing in this package starts the tracker's process. Where a program has started it, by making a
`SharedMemory`, the children that ramet starts share it.
"""

import multiprocessing.resource_tracker as _std
from multiprocessing.resource_tracker import (
    ResourceTracker as ResourceTracker,
)
from multiprocessing.resource_tracker import (
    _resource_tracker,
    ensure_running,
    register,
    unregister,
)

__all__ = ["ensure_running", "register", "unregister"]


def inheritable_fd() -> int | None:
    """The descriptor of a tracker that runs already, to be passed to a child; None if none does."""
    return _resource_tracker._fd


def inherit(fd: int | None) -> None:
    """Use the tracker of the parent, or none until one is needed."""
    _resource_tracker._fd = fd


def __getattr__(name):
    return getattr(_std, name)
