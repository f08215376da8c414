# SPDX-License-Identifier: MIT
"""Fresh interpreters: the command line of a child, what it must be like, and where it begins."""

from __future__ import annotations

import atexit
import gc
import multiprocessing.context as _std_context
import multiprocessing.process as _std_process
import multiprocessing.spawn as _std
import os
import sys
from importlib.machinery import ExtensionFileLoader
from multiprocessing.spawn import (
    _main,
    get_executable,
    import_main_path,
    is_forking,
    set_executable,
)
from subprocess import _args_from_interpreter_flags

from . import _ramet, bootstrap, context

TYPE_CHECKING = False  # not typing's own: a fresh child is spared the import of typing
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "_main",
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "is_forking",
    "prepare",
    "set_executable",
    "spawn_main",
]

FROZEN_FLAG = "--ramet-fork"


def python_path() -> list[str]:
    """Our sys.path, for a process with another working directory."""
    here = _std_process.ORIGINAL_DIR
    return [
        here if entry == "" and here is not None else entry
        for entry in sys.path
        if isinstance(entry, str)
    ]


def interpreter(program: str) -> list[str]:
    """The command line that has a fresh interpreter, with our flags and path, run a program."""
    # The path comes first of all, so that the child finds the very modules that we have found,
    # this package among them.
    setup = f"import sys; sys.path[:] = {python_path()!r}; "
    return [
        os.fsdecode(get_executable()),
        *_args_from_interpreter_flags(),
        "-c",
        setup + program,
        "--multiprocessing-fork",
    ]


def get_command_line(**kwds: Any) -> list[str]:
    """The command line of a child that calls spawn_main() with `kwds`."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FROZEN_FLAG, *(f"{name}={value!r}" for name, value in kwds.items())]
    arguments = ", ".join(f"{name}={value!r}" for name, value in kwds.items())
    return interpreter(f"from ramet.spawn import spawn_main; spawn_main({arguments})")


def freeze_support() -> None:
    """In a frozen program that was started as a child: run it, and exit."""
    if sys.argv[1:2] == [FROZEN_FLAG]:
        pairs = (argument.partition("=") for argument in sys.argv[2:])
        spawn_main(**{name: None if value == "None" else int(value) for name, _, value in pairs})


def get_preparation_data(name: str) -> dict[str, Any]:
    """What a child must be told to be like us before it can receive its process object."""
    # The standard library's function has the side effect of fixing the standard library's start
    # method, which is not ours to do.
    default = _std_context._default_context
    chosen = default._actual_context
    data = _std.get_preparation_data(name)
    if chosen is None:
        default._actual_context = None
        data.pop("start_method", None)
    data["ramet_start_method"] = context._default_context.get_start_method()
    if context.replaced:
        data["ramet_replaced"] = True
    return data


def preparation_for(process_obj: Any) -> dict[str, Any]:
    """The same for the child of a process object, which may do without the main module."""
    data = get_preparation_data(process_obj._name)
    if not getattr(process_obj, "_imports_main", True):
        data.pop("init_main_from_name", None)
        data.pop("init_main_from_path", None)
    return data


def prepare(data: dict[str, Any]) -> None:
    """Become like the parent that `data` came from; imports the main module."""
    method = data.pop("ramet_start_method", None)
    if method is not None:
        context._default_context.set_start_method(method, force=True)
    if data.pop("ramet_replaced", False):
        _replace()
    _std.prepare(data)


def _replace() -> None:
    from .replace import install  # late: few children have a use for it

    install()


# Of a class itself, whatever its metaclass makes of attributes.
_mro = type.__dict__["__mro__"].__get__
_dict = type.__dict__["__dict__"].__get__
_CLOSING = {"_sqlite3", "_gdbm", "_dbm"}  # of the standard library: their objects close files
_MANY = 100_000


def _has_finalizer(cls: type) -> bool:
    return any("__del__" in _dict(base) for base in _mro(cls))


def _may_close(name: str, module: Any) -> bool:
    """Whether objects of a module may do something when they are freed, and have no finalizer."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    if not isinstance(loader, ExtensionFileLoader):
        return False
    return name in _CLOSING or name.partition(".")[0] not in sys.stdlib_module_names


def _needs_teardown(before: set[str]) -> bool:
    modules = sys.modules.copy()
    if any(_may_close(name, modules[name]) for name in modules.keys() - before):
        return True
    objects = gc.get_objects()
    if len(objects) > _MANY:
        return True
    buffer = getattr(sys.stdin, "buffer", None)
    of_the_child = {id(sys.stdin), id(buffer), id(getattr(buffer, "raw", None))}
    known: dict[int, bool] = {}  # by id, since a metaclass may make its classes unhashable
    for obj in objects:
        if id(obj) in of_the_child:
            continue
        cls = type(obj)
        if id(cls) not in known:
            known[id(cls)] = _has_finalizer(cls)
        if known[id(cls)]:
            return True
    return False


def _thaw(before: set[str]) -> None:
    """At exit, after all other exit functions: have the interpreter tear down what must be.

    What a child has loaded before it knows its program is frozen: modules that last as long as the
    process, and whose teardown would be a tenth of the time of a short child. The teardown matters
    only for what the program has put into them, say a file that nothing but a module of the
    standard library refers to. So it takes place where an object of the program's has a finalizer,
    or may have what is not seen as one: objects of an extension module, which close something when
    they are freed. And where there are so many objects that to look at them costs more than it
    spares.

    `before`: the names of the modules that are frozen.
    """
    try:
        if not _needs_teardown(before):
            return
    except Exception:  # no memory; or what stands for a module is none
        pass
    gc.unfreeze()


def spawn_main(
    data: int,
    parent: int,
    parent_pid: int,
    arena: int,
    tie: int = 0,
    token: int | None = None,
    tracker: int | None = None,
) -> None:
    """Run the child of a spawn, and exit. Arguments but `parent_pid` and `tie` are descriptors.

    Each module that is imported is a good part of what a start costs, so that those which few
    children have a use for are imported for these alone.
    """
    for fd in (data, parent, arena, token, tracker):
        if fd is not None:
            os.set_inheritable(fd, False)
    if tie:
        from . import parent_death

        parent_death.tie(tie, parent_pid, parent)
    _ramet.attach(arena)
    os.close(arena)
    if tracker is not None:
        from . import resource_tracker

        resource_tracker.inherit(tracker)
    atexit.register(_thaw, set(sys.modules))  # first, so that it is called last
    gc.freeze()
    from_parent = open(data, "rb", closefd=False)
    sys.exit(bootstrap.run(data, from_parent, parent, token, prepare))


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
