# SPDX-License-Identifier: MIT
"""Values and arrays in shared memory: as the standard library's, and through queues."""

import ctypes
import multiprocessing.sharedctypes as std
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import ramet
from ramet import heap, sharedctypes, synchronize


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_int)]


@pytest.fixture
def ctx(method):
    return ramet.get_context(method)


def change(value, array, string, point, raw):
    value.value += 1
    with array.get_lock():
        for i in range(len(array)):
            array[i] *= 2
    string.value = b"changed"
    point.x, point.y = 2.5, -7
    raw[1] = 9


def make(ctx):
    return (
        ctx.Value("i", 41),
        ctx.Array("d", [1.5, 2.5, 3.5]),
        ctx.Array("c", 10),
        ctx.Value(Point, 1.0, 2),
        ctx.RawArray("q", 3),
    )


def check_changed(value, array, string, point, raw):
    assert value.value == 42
    assert array[:] == [3.0, 5.0, 7.0]
    assert string.value == b"changed"
    assert (point.x, point.y) == (2.5, -7)
    assert raw[:] == [0, 9, 0]


def test_by_inheritance(ctx):
    things = make(ctx)
    process = ctx.Process(target=change, args=things)
    process.start()
    process.join()
    assert process.exitcode == 0
    check_changed(*things)


def change_what_comes(queue, done):
    change(*queue.get())
    done.set()


def test_through_a_queue(ctx):
    things = make(ctx)
    queue, done = ctx.Queue(), ctx.Event()
    process = ctx.Process(target=change_what_comes, args=(queue, done))
    process.start()
    queue.put(things)
    done.wait()
    check_changed(*things)
    process.join()


def add(value, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def test_under_its_lock(ctx):
    value = ctx.Value("l", 0)
    processes = [ctx.Process(target=add, args=(value, 3000)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert value.value == 9000


@pytest.mark.parametrize("code", sorted(std.typecode_to_type))
def test_every_type_code(code):
    value = ramet.RawValue(code)
    assert type(value) is std.typecode_to_type[code]
    array = ramet.RawArray(code, 4)
    assert len(array) == 4 and ctypes.sizeof(array) == 4 * ctypes.sizeof(value)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 100_000, 3_000_000])
def test_new_memory_is_zeroed(size):
    for _ in range(2):
        array = ramet.RawArray("b", size)
        assert bytes(array) == bytes(size)
        ctypes.memset(array, 0x55, size)
        del array


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("RawValue", ("x",)),
        ("RawArray", ("zz", 3)),
        ("Value", ("no such code", 1)),
        ("Array", ("?", 4)),
        ("Value", ("i", "text")),
        ("RawArray", ("i", -1)),
        ("RawArray", ("i", 2.5)),
        ("Array", ("i", ["text"])),
    ],
)
def test_errors_are_the_standard_librarys(function, args):
    import multiprocessing

    with pytest.raises(Exception) as theirs:
        getattr(multiprocessing, function)(*args)
    with pytest.raises(type(theirs.value)) as ours:
        getattr(ramet, function)(*args)
    assert str(ours.value) == str(theirs.value)


def test_locks_of_the_callers_choice():
    lock = ramet.Lock()
    assert ramet.Value("i", 1, lock=lock).get_lock() is lock
    assert isinstance(ramet.Value("i", 1).get_lock(), synchronize.RLock)
    assert not hasattr(ramet.Value("i", 1, lock=False), "get_lock")
    with pytest.raises(AttributeError, match="acquire"):
        ramet.Value("i", 1, lock="none")
    with pytest.raises(AssertionError):
        sharedctypes.synchronized(ramet.Value("i", 1))


class Counted:
    """A lock of the user's: it is called by name, and counts."""

    def __init__(self):
        self.calls = []

    def acquire(self):
        self.calls.append("acquire")

    def release(self):
        self.calls.append("release")


class CountedLock(synchronize.RLock):
    taken = 0

    def acquire(self, *args, **kwargs):
        type(self).taken += 1
        return super().acquire(*args, **kwargs)


def test_every_access_is_under_the_lock():
    lock = Counted()
    value, string = ramet.Value("i", 1, lock=lock), ramet.Array("c", 3, lock=lock)
    point, array = ramet.Value(Point, lock=lock), ramet.Array("i", 3, lock=lock)

    def read_and_write():
        value.value += 1
        point.x = point.y
        string.raw = string.value
        array[0] = array[1]
        array[:2] = array[1:]

    read_and_write()
    assert lock.calls == ["acquire", "release"] * 10
    counted = ramet.Value("i", 1, lock=CountedLock(ctx=ramet.get_context()))
    counted.value += 1
    assert CountedLock.taken == 2
    assert list(array) == [0, 0, 0]


@pytest.mark.parametrize("kind", [ramet.Lock, ramet.RLock, Counted])
def test_an_error_gives_the_lock_back(kind):
    lock = kind()
    value, array = ramet.Value("i", 1, lock=lock), ramet.Array("i", 3, lock=lock)
    with pytest.raises(TypeError):
        value.value = "no number"
    with pytest.raises(IndexError):
        array[3]
    with pytest.raises(IndexError):
        array[3] = 1
    with pytest.raises(TypeError):
        del array[0]
    with pytest.raises(AttributeError):
        del value.value
    assert value.value == 1
    if kind is Counted:
        assert lock.calls == ["acquire", "release"] * (len(lock.calls) // 2)
    else:
        assert lock.acquire(False)


def test_a_holder_is_not_passed():
    value = ramet.Value("i", 1, lock=ramet.Lock())
    with value.get_lock():
        assert not value.acquire(False)
        other = ramet.get_context("fork").Process(target=setattr, args=(value, "value", 5))
        other.start()
        other.join(0.1)
        assert other.is_alive()
        assert value.get_obj().value == 1
    other.join()
    assert value.value == 5


def test_what_was_not_initialized_has_no_lock():
    value = sharedctypes.Synchronized.__new__(sharedctypes.Synchronized)
    for use in (value.get_lock, value.get_obj, lambda: value.value):
        with pytest.raises(AttributeError):
            use()
    with pytest.raises(TypeError, match="synchronized"):
        sharedctypes.Synchronized.__dict__["value"].__get__(3)


def test_is_the_standard_librarys():
    assert isinstance(ramet.Value("i"), std.Synchronized)
    assert isinstance(ramet.Array("i", 2), std.SynchronizedArray)
    assert isinstance(ramet.Array("c", 2), std.SynchronizedString)
    assert isinstance(ramet.Value(Point), std.SynchronizedBase)
    assert type(ramet.Value(Point)) is type(ramet.Value(Point))
    assert repr(ramet.Value("i", 3)) == "<Synchronized wrapper for c_int(3)>"


def test_copy_is_another():
    value = ramet.RawValue("d", 2.25)
    other = sharedctypes.copy(value)
    other.value = 1
    assert value.value == 2.25
    point = sharedctypes.copy(Point(1.5, 4))
    assert (point.x, point.y) == (1.5, 4)
    assert ForkingPickler.loads(ForkingPickler.dumps(point)).y == 4


def test_memory_outlives_the_object_that_made_it():
    view = heap.BufferWrapper(1000).create_memoryview()
    view[10] = 7
    fill = [ramet.RawArray("b", 1000) for _ in range(50)]
    assert view[10] == 7 and sum(view) == 7
    del fill


def test_a_private_object_goes_by_value():
    ramet.RawValue("i", 1)  # registers a reducer for c_int
    copy = ForkingPickler.loads(ForkingPickler.dumps(ctypes.c_int(5)))
    assert copy.value == 5


def test_a_stale_reference():
    data = pickle.dumps(heap.BufferWrapper(8))
    with pytest.raises(OSError, match="gone"):
        pickle.loads(data)


@pytest.mark.parametrize("size", [-1, -(2**40)])
def test_buffer_sizes(size):
    with pytest.raises(ValueError, match="out of range"):
        heap.BufferWrapper(size)


def test_more_than_there_is():
    with pytest.raises(MemoryError):
        ramet.RawArray("b", 2**45)
