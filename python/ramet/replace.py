# SPDX-License-Identifier: MIT
"""Programs that say `multiprocessing` and get ramet, without a change to their source.

`install()` does it from within; `python -m ramet script.py` and `-m ramet -m module` do it before a
program begins. Children have it too, whatever the start method: it goes along with what they must
be like.

The package `multiprocessing` stays the object that it is, and its public names become ours; the
modules with classes of ours take the place of the standard library's, in `sys.modules` and as its
attributes. What was imported before finds ours as well: the functions of the package, which were
bound to the standard library's default context, see ours in it, and its factories look for the
classes when they are called. The standard library's own modules keep each other. The executor of
`concurrent.futures` becomes ours, too.
"""

import concurrent.futures
import concurrent.futures.process
import importlib
import importlib.machinery
import io
import multiprocessing as _std
import multiprocessing.context as _std_context
import os
import runpy
import sys
from pkgutil import get_importer, walk_packages
from types import CodeType, FunctionType, ModuleType, TracebackType

from . import context
from . import pool as _pool

__all__ = ["install", "main"]

# The modules with something of ours. The others are what they are in both packages.
REPLACED = (
    "connection",
    "context",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "popen_fork",
    "popen_forkserver",
    "popen_spawn_posix",
    "queues",
    "sharedctypes",
    "spawn",
    "synchronize",
)
NOT_IMPORTED = (
    "multiprocessing.popen_spawn_win32",  # not for Linux
    "ramet.__main__",
    "ramet.aio",  # these are for asyncio alone
    "ramet.pool_async",
    "ramet.joblib",  # which not everybody has
)


def install() -> None:
    """Have `multiprocessing` mean ramet, in this process and in those that it starts.

    Best called before anything else is imported: a class that was derived from one of the standard
    library's keeps its base.
    """
    if context.replaced:
        return
    _import_all()
    managers = sys.modules["multiprocessing.managers"]
    for name in REPLACED:
        theirs = sys.modules[f"multiprocessing.{name}"]
        module = importlib.import_module(f"ramet.{name}")
        _rename(theirs, module, f"ramet.replaced_{name}")
        sys.modules[f"multiprocessing.{name}"] = module
        setattr(_std, name, module)
    ours = sys.modules["ramet"]
    for manager in (managers.SyncManager, sys.modules["ramet.managers"].SyncManager):
        manager._registry["Pool"] = (_pool.Pool, *manager._registry["Pool"][1:])
    for name in _std.__all__:
        setattr(_std, name, getattr(ours, name))
    _replace_default()
    for futures in (concurrent.futures, concurrent.futures.process):
        futures.ProcessPoolExecutor = ours.ProcessPoolExecutor  # type: ignore[misc]
    context.replaced = True


def _import_all() -> None:
    """Import what either package may import later, by names that will then mean something else."""
    for package in (_std, sys.modules["ramet"]):
        for found in walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in NOT_IMPORTED:
                importlib.import_module(found.name)


def _rename(theirs: ModuleType, ours: ModuleType, name: str) -> None:
    """Give what ours hides another name, by which it can be pickled, and found in a child."""
    for value in vars(theirs).copy().values():
        if isinstance(value, type | FunctionType) and value.__module__ == theirs.__name__:
            if getattr(ours, value.__qualname__, None) is not value:
                value.__module__ = name
    theirs.__name__ = name
    sys.modules[name] = theirs


def _replace_default() -> None:
    """Make the standard library's default context ours, for those who have a method of it."""
    default = _std_context._default_context
    chosen = default._actual_context
    if chosen is not None and context._default_context._actual_context is None:
        context._default_context.set_start_method(chosen.get_start_method())
    default.__class__ = context.DefaultContext
    default.__dict__ = context._default_context.__dict__
    _std_context._default_context = context._default_context
    _std_context._concrete_contexts = context._concrete_contexts


# ----------------------------------------------------------------------------- python -m ramet

USAGE = "usage: python -m ramet [-m module | script.py] [arguments]\n"


def main() -> None:
    """Run the program that the command line names, as Python itself would, with ramet."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        install()
        sys.argv[:] = arguments[1:]
        _run_module(sys.argv[0], True)
    elif arguments and not arguments[0].startswith("-"):
        install()
        sys.argv[:] = arguments
        _run_script(arguments[0])
    elif arguments in (["-h"], ["--help"]):
        sys.stdout.write(USAGE + "\nRun a program with ramet in the place of multiprocessing.\n")
    else:
        sys.stderr.write(USAGE)
        sys.exit(2)


def _run_script(path: str) -> None:
    if get_importer(path) is not None:  # a folder or an archive that has a __main__.py
        _set_path(path)
        _run_module("__main__", False)
        return
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        where = os.path.abspath(path)
        sys.stderr.write(
            f"{sys.executable}: can't open file {where!r}: [Errno {error.errno}] {error.strerror}\n"
        )
        sys.exit(2)
    _set_path(os.path.dirname(os.path.realpath(path)))
    module = _fresh_main()
    module.__file__ = os.path.abspath(path)
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", module.__file__)
    module.__cached__ = None
    _execute(source, module)


def _set_path(entry: str) -> None:
    """The folder of the program stands first, in the place of the current one."""
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _fresh_main() -> ModuleType:
    """The main module, as good as new."""
    module = sys.modules["__main__"]
    names = vars(module)
    builtins = names["__builtins__"]
    names.clear()
    names.update(
        __name__="__main__",
        __doc__=None,
        __package__=None,
        __loader__=None,
        __spec__=None,
        __builtins__=builtins,
    )
    return module


def _execute(source: bytes, module: ModuleType) -> None:
    sys.excepthook = _print_error
    code: CodeType = compile(source, module.__file__ or "", "exec", dont_inherit=True)
    exec(code, vars(module))


def _run_module(name: str, alter_argv: bool) -> None:
    sys.excepthook = _print_error
    _fresh_main()
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _print_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print what ended the program, without the frames below it, which are ours."""
    theirs = trace
    while trace is not None:
        code, trace = trace.tb_frame.f_code, trace.tb_next
        if code is _execute.__code__ or code is _run_module.__code__:
            theirs = trace
            break
    sys.__excepthook__(kind, error.with_traceback(theirs), theirs)
