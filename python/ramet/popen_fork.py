# SPDX-License-Identifier: MIT
"""Starting a process by fork, and what the handles of all our children have in common.

The sentinel of a child is a pidfd: it becomes readable when the last thread of that very process is
gone, whoever else inherited a descriptor of ours, and a signal sent through it never meets another
process that got the same pid. The child's sentinel of its parent is a pidfd too.
"""

from __future__ import annotations

import multiprocessing.popen_fork as _std
import os
import signal
from multiprocessing import util

from . import _ramet, child, parent_death

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Popen"]


class Popen(_ramet.Child, _std.Popen):
    """A child of this process: its status, its signals, its sentinel."""

    method = "fork"

    def __init__(self, process_obj: Any) -> None:
        util._flush_std_streams()
        self._launch(process_obj)

    def _launch(self, process_obj: Any) -> None:
        _ramet.join()
        child.prepare(self._owner, process_obj._parent_name)
        tie = parent_death.tie_for(process_obj)
        ourselves = os.pidfd_open(self._owner)
        try:
            pid = os.fork()
            if pid == 0:
                if tie == parent_death.NOT:
                    child.run(process_obj._bootstrap, ourselves)
                child.run(parent_death.tied, process_obj, tie, self._owner, ourselves)
            self._adopt(pid)
        finally:
            # An exception that a signal handler raised in the child, before it got anywhere, must
            # not make a second copy of the caller.
            if os.getpid() != self._owner:
                os._exit(1)
            os.close(ourselves)

    def bootstrap_error(self) -> RuntimeError | None:
        """Why the child did not get as far as running its process object; see popen_spawn."""
        return None

    def _send_signal(self, sig: int) -> None:
        if self.returncode is None:
            try:
                signal.pidfd_send_signal(self.sentinel, sig)
            except ProcessLookupError:
                pass
            except OSError:
                if self.wait(timeout=0.1) is None:
                    raise
