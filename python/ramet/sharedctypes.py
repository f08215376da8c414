# SPDX-License-Identifier: MIT
"""ctypes objects in shared memory, with and without a lock.

As in the standard library, whose classes of synchronised objects these are; the memory and the
locks are those of the arena, so that all of them can be pickled at any time, into queues as well.
"""

import ctypes
import multiprocessing.sharedctypes as _std
import weakref
from multiprocessing.sharedctypes import typecode_to_type
from typing import Any

from . import _ramet, heap
from .context import _default_context
from .reduction import ForkingPickler

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]


def _new_value(type_: Any) -> Any:
    return rebuild_ctype(type_, heap.BufferWrapper(ctypes.sizeof(type_)), None)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return a ctypes object in shared memory."""
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    obj = _new_value(type_)
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """Return a ctypes array in shared memory, of a size (zeroed) or with initial values."""
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new_value(type_ * size_or_initializer)
    obj = _new_value(type_ * len(size_or_initializer))
    obj.__init__(*size_or_initializer)
    return obj


def _with_lock(obj: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return obj
    if lock in (True, None):
        lock = (ctx or _default_context.get_context()).RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx=ctx)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Return a shared ctypes object, with a lock unless `lock` is False."""
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """Return a shared ctypes array, with a lock unless `lock` is False."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def copy(obj: Any) -> Any:
    """Return a copy of a ctypes object, in shared memory."""
    new_obj = _new_value(type(obj))
    ctypes.pointer(new_obj)[0] = obj
    return new_obj


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Return a wrapper that gives access to a shared ctypes object under a lock."""
    assert not isinstance(obj, _std.SynchronizedBase), "object already synchronized"
    ctx = ctx or _default_context.get_context()
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock, ctx)
    if isinstance(obj, ctypes.Array):
        if obj._type_ is ctypes.c_char:
            return SynchronizedString(obj, lock, ctx)
        return SynchronizedArray(obj, lock, ctx)
    cls = type(obj)
    wrapper = class_cache.get(cls)
    if wrapper is None:
        members = {field[0]: _ramet.LockedAttribute(field[0]) for field in cls._fields_}
        wrapper = type("Synchronized" + cls.__name__, (SynchronizedBase,), members)
        class_cache[cls] = wrapper
    return wrapper(obj, lock, ctx)


# ------------------------------------------------------------------------------------- pickling


def reduce_ctype(obj: Any) -> Any:
    """Pickle a ctypes object: by reference what lies in shared memory, by value what does not."""
    wrapper = getattr(obj, "_wrapper", None)
    if wrapper is None:
        return obj.__reduce__()
    if isinstance(wrapper, heap.BufferWrapper):
        rebuild = rebuild_ctype
    else:  # made by the standard library, whose reducer for this type ours has replaced
        rebuild = _std.rebuild_ctype
    if isinstance(obj, ctypes.Array):
        return rebuild, (obj._type_, wrapper, obj._length_)
    return rebuild, (type(obj), wrapper, None)


def rebuild_ctype(type_: Any, wrapper: Any, length: int | None) -> Any:
    """Return the ctypes object of a type, or an array of that many, in the memory of a wrapper."""
    if length is not None:
        type_ = type_ * length
    ForkingPickler.register(type_, reduce_ctype)
    obj = type_.from_buffer(wrapper.create_memoryview())
    obj._wrapper = wrapper
    return obj


# ------------------------------------------------------------------------------------- wrappers

class_cache: Any = weakref.WeakKeyDictionary()


class SynchronizedBase(_ramet.SynchronizedBase, _std.SynchronizedBase):
    """A ctypes object and the lock that its properties take."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        super().__init__(obj, lock or (ctx or _default_context.get_context()).RLock(), ctx)

    def __reduce__(self) -> Any:
        return synchronized, (self._obj, self._lock)


class Synchronized(SynchronizedBase, _std.Synchronized):
    """A simple value under a lock."""

    value = _ramet.LockedAttribute("value")


class SynchronizedArray(_ramet.SynchronizedArray, SynchronizedBase, _std.SynchronizedArray):
    """An array under a lock."""


class SynchronizedString(SynchronizedArray, _std.SynchronizedString):
    """An array of c_char under a lock, with the attributes `value` and `raw`."""

    value = _ramet.LockedAttribute("value")
    raw = _ramet.LockedAttribute("raw")


def __getattr__(name: str) -> Any:
    return getattr(_std, name)
