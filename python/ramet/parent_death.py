# SPDX-License-Identifier: MIT
"""Ending a daemonic process with its parent, also when the parent is killed.

The kernel can send a signal when the parent dies, but it follows the thread that forked, not the
process. So the parent says which thread forks: the first thread of a process ends last, and then
the kernel's signal is right; for any other one the child has a thread of its own that sleeps on the
parent's pidfd. SIGKILL, since nobody is left who would notice that a gentler signal had no effect.

A daemonic process may itself be ended at any moment, and so all its children end with it, also
those that are not daemonic: the whole tree goes together.
"""

import os
import signal
import threading
from multiprocessing.process import current_process
from typing import Any

from . import _ramet

# How a child ends with its parent; a plain int, as it stands on the child's command line, where 0
# spares a child that does not even the import of this module.
NOT = 0
BY_SIGNAL = 1
BY_WATCH = 2


def ends_with_us(process_obj: Any) -> bool:
    """Whether a process that we start is to end with us, however that may be."""
    return process_obj.daemon or current_process().daemon


def tie_for(process_obj: Any) -> int:
    """How a child is to end with us that the calling thread is about to make."""
    if not ends_with_us(process_obj):
        return NOT
    return BY_SIGNAL if threading.get_native_id() == os.getpid() else BY_WATCH


def tie(how: int, parent_pid: int, parent_sentinel: int) -> None:
    """In the child: end with the parent from now on, at once if it is gone already."""
    if how == BY_SIGNAL:
        _ramet.set_pdeathsig(signal.SIGKILL)
        # The parent may have died before; then its place is taken by another process.
        if os.getppid() != parent_pid:
            os.kill(os.getpid(), signal.SIGKILL)
    elif how == BY_WATCH:
        _ramet.watch_parent(os.dup(parent_sentinel), signal.SIGKILL)


def tied(process_obj: Any, how: int, parent_pid: int, parent_sentinel: int) -> int:
    """Be the process of `process_obj`, once it ends with its parent; for a daemonic one."""
    tie(how, parent_pid, parent_sentinel)
    return process_obj._bootstrap(parent_sentinel=parent_sentinel)
