# SPDX-License-Identifier: MIT
"""Starting a process by fork, and what the handles of all our children have in common.

The sentinel of a child is a pidfd: it becomes readable when the last thread of that very process is
gone, whoever else inherited a descriptor of ours, and a signal sent through it never meets another
process that got the same pid. The child's sentinel of its parent is a pidfd too.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.popen_fork as _std
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import util

from . import _ramet, parent_death
from .pidfd import ended

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["Popen"]

# The exit code of a child whose own was lost: somebody else waited for it, or its server died.
UNKNOWN_EXIT = 255

# From 3.13 on a forked child runs its own atexit functions; before, none.
_CHILDREN_RUN_ATEXIT = hasattr(_std, "atexit")


def exit_code(error: SystemExit) -> int:
    """The exit code that an exception stands for; what is not one is printed, as at any exit."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    if sys.stderr is not None:
        sys.stderr.write(f"{error.code}\n")
    return 1


def run_child(function: Callable[[], int]) -> NoReturn:
    """In a forked child: call `function`, and exit with its result; never returns."""
    code = 1
    try:
        if _CHILDREN_RUN_ATEXIT:
            atexit._clear()
            atexit.register(util._exit_function)
        code = function()
    except SystemExit as error:
        code = exit_code(error)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        util._flush_std_streams()
    finally:
        try:
            if _CHILDREN_RUN_ATEXIT:
                atexit._run_exitfuncs()
        finally:
            os._exit(code & 0xFF)


class Popen(_std.Popen):
    """A child of this process: its status, its signals, its sentinel."""

    method = "fork"
    pid: int
    sentinel: int
    returncode: int | None

    def __init__(self, process_obj: Any) -> None:
        self._owner = os.getpid()  # in a forked child of ours, the child is a stranger
        super().__init__(process_obj)

    def _launch(self, process_obj: Any) -> None:
        _ramet.join()
        tie = parent_death.tie_for(process_obj.daemon)
        ourselves = os.pidfd_open(self._owner)
        try:
            pid = os.fork()
            if pid == 0:
                run_child(lambda: self._run(process_obj, tie, ourselves))
            self._adopt(pid)
        finally:
            # An exception that a signal handler raised in the child, before it got anywhere, must
            # not make a second copy of the caller.
            if os.getpid() != self._owner:
                os._exit(1)
            os.close(ourselves)

    def _run(self, process_obj: Any, tie: int, parent_sentinel: int) -> int:
        parent_death.tie(tie, self._owner, parent_sentinel)
        return process_obj._bootstrap(parent_sentinel=parent_sentinel)

    def _adopt(self, pid: int) -> None:
        """Take on the child `pid`, which nobody has waited for."""
        self.pid = pid
        try:
            self.sentinel = os.pidfd_open(pid)
        except ProcessLookupError:
            # Gone already and nobody's zombie, as children are where SIGCHLD is ignored.
            self.sentinel, write_end = os.pipe()
            os.close(write_end)
            self.returncode = UNKNOWN_EXIT
        except OSError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
        self.finalizer = util.Finalize(self, util.close_fds, (self.sentinel,))

    def _status(self) -> int | None:
        """The exit code if the child is gone, which is told any number of times; or None."""
        try:
            info = os.waitid(os.P_PIDFD, self.sentinel, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Somebody waited for it: another thread of ours, which has noted the code, or not.
            if self.returncode is None and ended(self.sentinel):
                return UNKNOWN_EXIT
            return self.returncode
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def _reap(self) -> None:
        """Release the child's entry in the table of processes."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None; waits for it unless `flag` is os.WNOHANG."""
        if self.returncode is None and os.getpid() == self._owner:
            if flag != os.WNOHANG:
                ended(self.sentinel, None)
            code = self._status()
            if code is not None:
                # In this order: threads may come here at once, and each must find either a child to
                # ask or the code; and until the last line no other process can have that pid.
                self.returncode = code
                with contextlib.suppress(OSError):
                    _ramet.reap(self.pid)
                self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, once the child is gone; None if it is not after `timeout` seconds."""
        if self.returncode is None and ended(self.sentinel, timeout):
            self.poll()
        return self.returncode

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
