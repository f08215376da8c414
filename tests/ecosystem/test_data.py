# SPDX-License-Identifier: MIT
"""NumPy, pandas and Arrow through every queue, pipe and pool; tqdm around `imap`."""

import io
import threading

import numpy
import pandas
import pyarrow
import pytest
import ramet
import tqdm
from fixtures import START_METHODS

SIZES = (0, 3, 1_000, 400_000)  # in the cell, in a block, and as a view


def array(size):
    return numpy.arange(size, dtype=float)


def record_array(size):
    return numpy.zeros(size, dtype=[("a", "i4"), ("b", "f8", (3,))])


def fortran_array(size):
    return numpy.asfortranarray(numpy.arange(2.0 * size).reshape(2, size))


def frame(size):
    return pandas.DataFrame(
        {
            "number": numpy.arange(size),
            "text": [f"line {n}" for n in range(size)],
            "kind": pandas.Categorical(["a", "b"] * (size // 2) + ["a"] * (size % 2)),
            "time": pandas.date_range("2024-01-01", periods=size, freq="s"),
        }
    )


def series(size):
    return pandas.Series(numpy.arange(size) / 7, name="seventh")


def table(size):
    columns = {"number": pyarrow.array(range(size)), "text": [f"line {n}" for n in range(size)]}
    return pyarrow.table(columns)


def same(one, other):
    if isinstance(one, (pandas.DataFrame, pandas.Series)):
        return type(one) is type(other) and one.equals(other)
    if isinstance(one, pyarrow.Table):
        return one.equals(other)
    return one.dtype == other.dtype and one.shape == other.shape and (one == other).all()


MAKERS = (array, record_array, fortran_array, frame, series, table)
each = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def put_all(put, make):
    for size in SIZES:
        put(make(size))


def get_all(get, make):
    return all(same(get(), make(size)) for size in SIZES)


@each
@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_queues(kind, make):
    queue = getattr(ramet, kind)()
    put_all(queue.put, make)
    assert get_all(queue.get, make)


@each
def test_pipes(make):
    ours, theirs = ramet.Pipe()
    sender = threading.Thread(target=put_all, args=(ours.send, make))
    sender.start()
    assert get_all(theirs.recv, make)
    sender.join()


@each
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_processes_and_pools(method, make):
    ramet.set_forkserver_preload(["pandas", "pyarrow"])
    context = ramet.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put_all, args=(queue.put, make))
    process.start()
    assert get_all(queue.get, make)
    process.join()
    with context.Pool(2) as pool:
        for results in (pool.map(make, SIZES), list(pool.imap(make, SIZES))):
            assert all(same(got, make(size)) for got, size in zip(results, SIZES, strict=True))
        assert pool.starmap(same, [(make(size), make(size)) for size in SIZES]) == [True] * 4
        assert same(pool.apply(make, (1_000,)), make(1_000))


def change(values):
    values[:] = -1
    return values


def test_what_arrives_is_writable_and_nobody_else_s():
    with ramet.get_context("fork").Pool(2) as pool:
        for size in SIZES:
            ours = array(size)
            changed = pool.apply(change, (ours,))
            assert (changed == -1).all() and (ours == array(size)).all()
            changed[:] = 5
    queue = ramet.Queue()
    queue.put(frame(400_000))
    got = queue.get()
    got.loc[0, "number"] = -5
    assert got.iloc[0, 0] == -5 and frame(3).iloc[0, 0] == 0


def test_arrays_in_shared_values():
    """As in many a program: an array over a shared one, changed by a child."""
    context = ramet.get_context("fork")
    shared = context.Array("d", 1_000)
    view = numpy.frombuffer(shared.get_obj())
    process = context.Process(target=lambda: view.fill(3))
    process.start()
    process.join()
    assert (view == 3).all() and shared[999] == 3


def mean_of(part):
    return part["number"].mean()


def test_groups_of_a_frame():
    whole = frame(10_000)
    whole["group"] = whole["number"] % 7
    with ramet.get_context("fork").Pool(2) as pool:
        parts = [part for _, part in whole.groupby("group")]
        assert pool.map(mean_of, parts) == whole.groupby("group")["number"].mean().tolist()


def square(number):
    return number * number


@pytest.mark.parametrize("method", START_METHODS)
def test_tqdm_around_imap(method):
    shown = io.StringIO()
    with ramet.get_context(method).Pool(2) as pool:
        bar = tqdm.tqdm(pool.imap(square, range(500)), total=500, file=shown, mininterval=0)
        assert list(bar) == [n * n for n in range(500)]
        assert bar.n == 500
        bar = tqdm.tqdm(pool.imap_unordered(square, range(500), chunksize=7), file=shown)
        assert sorted(bar) == [n * n for n in range(500)]
    assert "500/500" in shown.getvalue()


def test_tqdm_with_a_lock_of_ours():
    """Bars of several processes take turns by a lock, which users pass to tqdm.set_lock."""
    context = ramet.get_context("fork")
    lock = context.RLock()
    with context.Pool(2, tqdm.tqdm.set_lock, (lock,)) as pool:
        assert pool.map(show_bar, range(4)) == [20] * 4


def show_bar(position):
    shown = io.StringIO()
    return sum(1 for _ in tqdm.tqdm(range(20), position=position, file=shown))
