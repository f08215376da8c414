# SPDX-License-Identifier: MIT
"""What a child does around its process object's run(), and how a forked one ends.

This is the standard library's `BaseProcess._bootstrap`, with the same names rebound, in fewer
steps. What a forked child so much as mentions lies in a page that is then copied for it, and those
pages are most of what it costs to start and end one. So what would find nothing to do is not
called, and what each child needs anew is made once, in the parent, and taken as it is.
"""

from __future__ import annotations

import atexit
import io
import itertools
import multiprocessing.process as _process
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import util

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any, NoReturn

# From 3.13 on a forked child runs its own atexit functions; before, none.
_CHILDREN_RUN_ATEXIT = sys.version_info >= (3, 13)


def exit_code(error: SystemExit) -> int:
    """The exit code that an exception stands for; what is not one is printed, as at any exit."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    if sys.stderr is not None:
        sys.stderr.write(f"{error.code}\n")
    return 1


# ------------------------------------------------------------------------------ made beforehand

_registry = vars(_process)  # current process, children, …: names that a child rebinds


class _Beginnings:
    """What each child of one process takes for its own, as good as new.

    With `own_stdin`, the process's standard input, there is one for its children too. It is empty,
    and complete but for its descriptor, which a child opens: nobody who closes descriptors in the
    parent can have a child read from what took its number.
    """

    def __init__(self, maker: int, name: str, own_stdin: Any = None) -> None:
        self.maker = maker
        self.name = name
        self.parent = _process._ParentProcess(name, maker, None)
        self.registry = {
            "_process_counter": itertools.count(1),
            "_children": set(),
            "_parent_process": self.parent,
        }
        self.stdin = own_stdin
        self.close = _closer(own_stdin)
        if self.close is not None:
            fd = os.open(os.devnull, os.O_RDONLY)
            try:
                raw = io.FileIO(fd, closefd=False)
                self.text = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8")
                self.open = raw.__init__  # type: ignore[misc]
                raw.close()
            finally:
                os.close(fd)

    def take(self, parent_sentinel: int | None) -> None:
        """Have the names of the registry, and standard input, be those of a new process."""
        self.parent._sentinel = parent_sentinel
        _registry.update(self.registry)
        if self.close is None or self.stdin is not sys.stdin:
            util._close_stdin()
            return
        try:
            self.close()
            self.open(os.open(os.devnull, os.O_RDONLY), closefd=False)
            sys.stdin = self.text
        except (OSError, ValueError):
            pass


def _closer(text: Any) -> Callable[[], None] | None:
    """What closes the file under a standard input, and so all of it; None if it is another's."""
    if type(text) is io.TextIOWrapper:
        buffer = text.buffer
        if type(buffer) is io.BufferedReader and type(buffer.raw) is io.FileIO:
            return buffer.raw.close
    return None


_beginnings: _Beginnings | None = None  # a forked child finds what its parent made


def prepare(maker: int, name: str) -> None:
    """In the process `maker`, of that name, which is about to fork."""
    global _beginnings
    made = _beginnings
    if (
        made is None
        or made.maker != maker
        or made.name != name
        or (made.stdin is not sys.stdin and _closer(sys.stdin) is not None)
    ):
        _beginnings = _Beginnings(maker, name, sys.stdin)


# --------------------------------------------------------------------------------- around run()


def _before_exit() -> None:
    """End what the process must not leave behind: finalizers and children."""
    if util._finalizer_registry or _process._children or util._logger is not None:
        util._exit_function()
    else:
        util._exiting = True


def bootstrap(process_obj: Any, parent_sentinel: int | None) -> int:
    """Be the process of `process_obj`; the exit code."""
    global _beginnings
    code = 1
    try:
        ours, _beginnings = _beginnings, None  # not for children of ours any more
        if ours is None or ours.maker != process_obj._parent_pid:
            ours = _Beginnings(process_obj._parent_pid, process_obj._parent_name)
        ours.take(parent_sentinel)
        old = _registry["_current_process"]
        _registry["_current_process"] = process_obj
        threading._main_thread._native_id = threading.get_native_id()
        try:
            # Forget what is the parent's, and call what was registered for this moment.
            util._finalizer_registry.clear()
            if util._afterfork_registry.data:
                util._run_after_forkers()
        finally:
            del old  # whose finalizers, if it has any, are those of a process that knows itself
        if util._logger is not None:
            util.info("child process calling self.run()")
        try:
            process_obj.run()
            code = 0
        finally:
            if not _CHILDREN_RUN_ATEXIT:
                _before_exit()
    except SystemExit as error:
        code = exit_code(error)
    except BaseException:
        code = 1
        import traceback  # late: most children have no need of it

        sys.stderr.write(f"Process {process_obj.name}:\n")
        traceback.print_exc()
    finally:
        threading._shutdown()
        if util._logger is not None:
            util.info(f"process exiting with exitcode {code}")
        util._flush_std_streams()
    return code


def run(function: Callable[..., int], *args: Any) -> NoReturn:
    """In a forked child: call the function, and exit with its result; never returns."""
    code = 1
    try:
        if _CHILDREN_RUN_ATEXIT:
            atexit._clear()
            atexit.register(_before_exit)
        code = function(*args)
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
