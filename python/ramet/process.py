# SPDX-License-Identifier: MIT
"""Process objects and the registry of processes, as in `multiprocessing.process`.

There is one registry for both packages, the standard library's own: a process started through
either is among the `active_children()` of both, and `current_process()` is the same object. The
names that the standard library rebinds when a child starts are looked up there at each access.
"""

from __future__ import annotations

import multiprocessing.process as _std
from multiprocessing.process import (
    AuthenticationString as AuthenticationString,
)
from multiprocessing.process import (
    BaseProcess,
    active_children,
    current_process,
    parent_process,
)
from multiprocessing.process import (
    _cleanup as _cleanup,
)
from multiprocessing.process import (
    _dangling as _dangling,
)

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
