# SPDX-License-Identifier: MIT
"""Functions that pickle refuses, such as lambdas and local ones: sent by value, with cloudpickle.

Only the function that a pool or a process is given, never data, and only where cloudpickle is
installed; otherwise the error stays what it is. Nothing else here runs before pickle has refused.

Functions and classes to which such a function refers go by name where others can find them: also
those of a main module that is a file, which cloudpickle would copy, so that a class is the same one
inside the function and in its arguments.

What was typed in, at a prompt, in a notebook or after `python -c`, pickle does not refuse, but a
process that is no copy of this one does not find it: such a function goes by value, too.
"""

from __future__ import annotations

import collections
import io
import pickle
import sys
import types
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

__all__ = ["REFUSALS", "ByValue", "by_value", "is_typed_in", "portable", "send"]

# What pickle raises for what it cannot find by its name.
REFUSALS = (pickle.PicklingError, AttributeError, TypeError)

# What a prompt gives as the file of the code that is typed there.
_PROMPTS = ("<stdin>", "<python-input-", "<ipython-input-")


def _main_has_file() -> bool:
    """Whether other processes can import the main module."""
    main = sys.modules["__main__"]
    return (
        getattr(main, "__file__", None) is not None
        or getattr(getattr(main, "__spec__", None), "name", None) is not None
    )


def is_typed_in(function: Any) -> bool:
    """Whether only this process, and its copies, have what the function is by name."""
    code = getattr(function, "__code__", None)
    if code is not None and getattr(function, "__module__", None) == "__main__":
        # The second: at the prompt of `python -i program.py`.
        return not _main_has_file() or code.co_filename.startswith(_PROMPTS)
    if _main_has_file():
        return False
    try:  # a partial function, a bound method, an instance: of something that was typed in?
        return b"__main__" in bytes(ForkingPickler.dumps(function))
    except Exception:
        return False


def _is_in_main_file(obj: Any) -> bool:
    """Whether other processes find the function or class by name, in their main module."""
    if getattr(obj, "__module__", None) not in ("__main__", "__mp_main__"):
        return False  # cloudpickle knows best
    if not _main_has_file() or is_typed_in(obj):
        return False
    found: Any = sys.modules["__main__"]
    try:
        for name in obj.__qualname__.split("."):
            found = getattr(found, name)
    except AttributeError:
        return False
    return found is obj


def _pickler(file: io.BytesIO) -> Any:
    import cloudpickle  # late: not everybody has it, and most have no need of it

    class FunctionPickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined]
        # Connections and whatever else processes can be given.
        dispatch_table = collections.ChainMap(
            ForkingPickler._extra_reducers, cloudpickle.Pickler.dispatch_table
        )

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, type | types.FunctionType) and _is_in_main_file(obj):
                return NotImplemented
            return super().reducer_override(obj)

    return FunctionPickler(file, pickle.HIGHEST_PROTOCOL)


class ByValue:
    """Stands for a function in a message; what arrives is the function.

    It is pickled with the message and not before, so that the objects of ours that it refers to are
    counted by that message.
    """

    def __init__(self, function: Any) -> None:
        self.function = function

    def __reduce__(self) -> Any:
        file = io.BytesIO()
        _pickler(file).dump(self.function)
        return pickle.loads, (file.getvalue(),)


def by_value(function: Any) -> ByValue | None:
    """What to send in place of a function that pickle refuses; None if it does not, or no help."""
    if not callable(function):
        return None
    try:
        ForkingPickler.dumps(function)
    except REFUSALS:
        pass
    except Exception:
        return None
    else:
        if not is_typed_in(function):
            return None  # it was not the function that was refused
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        return None
    return ByValue(function)


def portable(function: Any) -> Any:
    """The function, or a substitute, for a process that is no copy of this one."""
    return by_value(function) or function


def send(submit: Callable[..., Any], function: Any, *rest: Any) -> Any:
    """`submit(function, *rest)`, with the function by value if pickle refuses it."""
    try:
        return submit(function, *rest)
    except REFUSALS:
        substitute = by_value(function)
        if substitute is None:
            raise
    return submit(substitute, *rest)
