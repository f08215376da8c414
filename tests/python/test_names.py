# SPDX-License-Identifier: MIT
"""Names and signatures: all that the running interpreter's `multiprocessing` has, ours has too.

The interpreter's own library is what is compared with, so that each version asks for what it has.
"""

import importlib
import inspect
import multiprocessing
import subprocess
import sys
import types

import pytest

MODULES = [
    "",
    ".connection",
    ".context",
    ".dummy",
    ".dummy.connection",
    ".heap",
    ".managers",
    ".pool",
    ".process",
    ".queues",
    ".reduction",
    ".resource_sharer",
    ".resource_tracker",
    ".shared_memory",
    ".sharedctypes",
    ".spawn",
    ".synchronize",
    ".util",
]
POPENS = [".popen_fork", ".popen_forkserver", ".popen_spawn_posix"]

# What is called in another way than in the standard library, and why. Nobody is meant to call any
# of these: a program gets such objects from a pool or from a lock's own class.
RESULTS = "a result is an object that reads the job's table, which it is made with"
DIFFERENT = {
    ".pool.ApplyResult": RESULTS,
    ".pool.AsyncResult": RESULTS,
    ".pool.MapResult": RESULTS,
    ".pool.IMapIterator": RESULTS,
    ".pool.IMapUnorderedIterator": RESULTS,
    ".synchronize.SemLock": "locks and semaphores are made each by a call of its own",
    ".spawn.spawn_main": "the child's command line, which names what ours must inherit",
    ".popen_fork.Popen.poll": "its flag is what wait() gives it, by position",
    ".popen_forkserver.Popen.DupFd": "stands for a descriptor of the request; made by the pickler",
}


def names(module):
    """The public names of a module: those that it exports, and those that it defines itself."""
    exported = getattr(module, "__all__", ())
    for name, value in sorted(vars(module).items()):
        if name in exported:
            yield name
        elif not name.startswith("_") and not isinstance(value, types.ModuleType):
            if getattr(value, "__module__", module.__name__) == module.__name__:
                yield name


ANYTHING = [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]


def parameters(function):
    """The parameters that a caller gives; None where they cannot be known."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if [p.kind for p in found[1:]] == ANYTHING:
        return None  # passes on what it is given
    return [p for i, p in enumerate(found) if i > 0 or p.name != "self"]


def takes_all(ours, theirs):
    """Whether each call that `theirs` take means the same with `ours`; which may take more."""
    required = [p for p in theirs if p.kind is not p.KEYWORD_ONLY]
    mine = [p for p in ours if p.kind is not p.KEYWORD_ONLY]
    for one, other in zip(required, mine, strict=False):
        optional = other.default is not other.empty or one.default is one.empty
        same = one.default in (one.empty, other.default)
        if (one.name, one.kind) != (other.name, other.kind) or not (optional and same):
            return False
    if len(mine) < len(required):
        return False
    named = {p.name: p for p in ours}
    for one in theirs:
        if one.kind is one.KEYWORD_ONLY:
            other = named.get(one.name)
            if other is None or one.default not in (one.empty, other.default):
                return False
    extra = [p for p in ours if p.name not in {t.name for t in theirs}]
    return all(p.default is not p.empty or p.kind in ANYTHING for p in extra)


def called_differently(where, theirs, ours):
    """The dotted names under `where` that cannot be called as the standard library's can."""
    if theirs is ours or where in DIFFERENT:
        return
    if inspect.isclass(theirs):
        for name in sorted(dir(theirs)):
            if not name.startswith("_") or name == "__init__":
                inner = getattr(ours, name, None)
                yield from called_differently(f"{where}.{name}", getattr(theirs, name), inner)
    elif callable(theirs):
        wanted, found = parameters(theirs), parameters(ours) if callable(ours) else None
        if wanted is not None and (found is None or not takes_all(found, wanted)):
            yield where


@pytest.mark.parametrize("module", MODULES + POPENS)
def test_each_public_name_is_there(module):
    theirs = importlib.import_module(f"multiprocessing{module}")
    ours = importlib.import_module(f"ramet{module}")
    assert [name for name in names(theirs) if not hasattr(ours, name)] == []
    # `from … import *` gives no less.
    assert set(getattr(theirs, "__all__", ())) <= set(getattr(ours, "__all__", ()))


@pytest.mark.parametrize("module", MODULES + POPENS)
def test_each_public_name_is_called_in_the_same_way(module):
    theirs = importlib.import_module(f"multiprocessing{module}")
    ours = importlib.import_module(f"ramet{module}")
    found = []
    for name in names(theirs):
        found += called_differently(f"{module}.{name}", getattr(theirs, name), getattr(ours, name))
    assert found == []


def test_each_difference_is_one():
    """A name that is called in the same way has no place in the list."""
    for where in list(DIFFERENT):
        module = max((m for m in MODULES + POPENS if where.startswith(f"{m}.")), key=len)
        theirs, ours = (
            importlib.import_module(f"{top}{module}") for top in ("multiprocessing", "ramet")
        )
        for name in where.removeprefix(f"{module}.").split("."):
            theirs, ours = getattr(theirs, name), getattr(ours, name)
        reason = DIFFERENT.pop(where)
        try:
            assert list(called_differently(where, theirs, ours)), where
        finally:
            DIFFERENT[where] = reason


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_an_attribute_of_the_package(module):
    """As in the standard library, where something else has always imported it already."""
    code = f"import ramet; assert ramet{module}.__name__ == {'ramet' + module!r}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_context_has():
    """A context has what the package has, and the package what its default context has."""
    for name in multiprocessing.__all__:
        theirs, ours = (
            importlib.import_module(top).get_context("spawn")
            for top in ("multiprocessing", "ramet")
        )
        assert hasattr(ours, name) or not hasattr(theirs, name), name


def test_exceptions_and_markers_are_the_same_objects():
    import queue

    import ramet

    for name in ("ProcessError", "BufferTooShort", "TimeoutError", "AuthenticationError"):
        assert getattr(ramet, name) is getattr(multiprocessing, name)
    assert importlib.import_module("ramet.queues").Empty is queue.Empty
    assert importlib.import_module("ramet.queues").Full is queue.Full
    assert ramet.process.BaseProcess is multiprocessing.process.BaseProcess
