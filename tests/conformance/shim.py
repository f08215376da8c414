# SPDX-License-Identifier: MIT
"""Imported by the rewritten test module, in every process that loads it.

CPython's tests need some names merely to be *imported*, and their set-up and
tear-down code (not the test cases) reaches for a few private ones.  prepare()
fills exactly those that the package under test lacks:

* a missing public name or submodule becomes an `Absent` placeholder, so that
  the tests which use it fail one by one instead of the module's import
  failing as a whole;
* a missing private name out of SCAFFOLD becomes a neutral stand-in.

Nothing that the package already has is ever replaced.  What was filled is
listed in `used` and printed by run.py.
"""

import importlib
import sys
import types

used = []
armed = False


class _AbsentType(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(f"{cls._absent_name}.{name}")

    def __call__(cls, *args, **kwds):
        if armed:
            raise NotImplementedError(f"{cls._absent_name} is not provided")
        return None


def _absent(name):
    return _AbsentType(name.rpartition(".")[2], (), {"_absent_name": name})


def _stub_module(package, name):
    mod = types.ModuleType(f"{package}.{name}")
    mod.__getattr__ = lambda attr: (
        _raise(AttributeError(attr))
        if attr.startswith("__")
        else _absent(f"{package}.{name}.{attr}")
    )
    mod.__path__ = []
    sys.modules[mod.__name__] = mod
    used.append(f"module {mod.__name__} (absent)")
    return mod


def _raise(e):
    raise e


def _temp_dir():
    import tempfile

    return tempfile.mkdtemp(prefix="mpc-")


def _scaffold():
    import weakref

    return {
        "process": {"_dangling": weakref.WeakSet(), "_cleanup": lambda: None},
        "util": {
            "_cleanup_tests": lambda: None,
            "get_temp_dir": _temp_dir,
            "SUBWARNING": 25,
            "SUBDEBUG": 5,
        },
        "reduction": {"HAVE_SEND_HANDLE": True},
        "resource_sharer": {"stop": lambda timeout=None: None},
    }


def prepare(package, submodules, names):
    """submodules: imported by the test file; names: 'sub.name' or 'name'
    evaluated while the test file itself is being imported."""
    if package == "multiprocessing":
        return
    root = importlib.import_module(package)
    scaffold = _scaffold()
    for sub in sorted(set(submodules) | set(scaffold)):
        full = f"{package}.{sub}"
        try:
            mod = importlib.import_module(full)
        except ModuleNotFoundError as e:
            if e.name != full and not full.startswith(f"{e.name}."):
                raise
            parent, _, leaf = full.rpartition(".")
            mod = _stub_module(package, sub)
            if parent in sys.modules and not hasattr(sys.modules[parent], leaf):
                setattr(sys.modules[parent], leaf, mod)
        for name, stand_in in scaffold.get(sub, {}).items():
            if name not in vars(mod):
                setattr(mod, name, stand_in)
                used.append(f"{full}.{name} (scaffold stand-in)")
    for dotted in names:
        obj, path = root, package
        for part in dotted.split("."):
            path += f".{part}"
            if not hasattr(obj, part):
                try:
                    setattr(obj, part, _absent(path))
                except (AttributeError, TypeError):
                    break
                used.append(f"{path} (absent)")
            obj = getattr(obj, part)
    base = getattr(sys.modules.get(f"{package}.managers"), "BaseManager", None)
    if isinstance(base, type) and not isinstance(base, _AbsentType):
        for name, result in (("_number_of_objects", 0), ("_debug_info", "")):
            if not hasattr(base, name):
                setattr(base, name, lambda self, _r=result: _r)
                used.append(f"{package}.managers.BaseManager.{name} (scaffold stand-in)")


class _Counter:
    """For the barrier tests' list-as-a-counter, which CPython's tests build
    on heap.BufferWrapper: the same over the public Value."""

    def __init__(self, mp):
        self.value = mp.Value("i", 0)

    def append(self, _):
        with self.value.get_lock():
            self.value.value += 1

    def __len__(self):
        return self.value.value


def arm(tests, package):
    """tests: globals of the test module, now loaded.  Helpers (not test
    methods) that lean on private names are relaxed where those are absent."""
    global armed
    mp = tests["multiprocessing"]
    if package != "multiprocessing":
        wrapper = getattr(sys.modules.get(f"{package}.heap"), "BufferWrapper", None)
        if isinstance(wrapper, _AbsentType) or wrapper is None:
            base = tests.get("_TestBarrier")
            if base:
                lists = base.DummyList
                base.DummyList = lambda self: (
                    _Counter(mp) if self.TYPE == "processes" else lists(self)
                )
                used.append("_TestBarrier.DummyList over Value, for want of heap.BufferWrapper")
        condition = tests.get("_TestCondition")
        if condition and hasattr(condition, "check_invariant"):
            strict = condition.check_invariant

            def check_invariant(self, cond):
                if hasattr(cond, "_woken_count") or self.TYPE != "processes":
                    strict(self, cond)

            condition.check_invariant = check_invariant
    armed = True
