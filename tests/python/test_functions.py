# SPDX-License-Identifier: MIT
"""Lambdas and local functions, which go by value where cloudpickle is installed; data does not."""

import pickle
import sys

import pytest
import ramet
from family import run

pytest.importorskip("cloudpickle")

REFUSED = (pickle.PicklingError, AttributeError)


@pytest.fixture
def context(method):
    return ramet.get_context(method)


def test_pools_take_them(context):
    step = 5
    with context.Pool(2) as pool:
        assert pool.map(lambda n: n + step, range(100)) == list(range(5, 105))
        assert pool.starmap(lambda a, b: a * b, [(2, 3)]) == [6]
        assert list(pool.imap(lambda n: n + step, [1, 2])) == [6, 7]
        assert sorted(pool.imap_unordered(lambda n: n + step, [1, 2])) == [6, 7]
        assert pool.apply(lambda: step) == 5
        assert pool.apply_async(lambda *, by: step * by, (), {"by": 2}).get() == 10
        assert pool.map_async(lambda n: n - step, [5]).get() == [0]


def test_an_initializer_may_be_one(context):
    def set_up(value):
        sys.set_up_value = value

    with context.Pool(1, set_up, (7,)) as pool:
        assert pool.apply(lambda: sys.set_up_value) == 7


def test_processes_take_them(context):
    process = context.Process(target=lambda: sys.exit(7))
    process.start()
    process.join()
    assert process.exitcode == 7


def start(context):
    """A process whose target alone knows a queue and an end of a pipe; the other end."""
    ours, theirs = context.Pipe()
    queue = context.Queue()
    queue.put("from the queue")
    process = context.Process(target=lambda: theirs.send(queue.get()))
    process.start()
    return process, ours


def test_what_only_the_function_refers_to_arrives(context):
    process, ours = start(context)
    assert ours.recv() == "from the queue"
    process.join()
    queue = context.Queue()
    with context.Pool(1) as pool:
        result = pool.apply_async(lambda: queue.put("from the worker"))
        assert queue.get() == "from the worker"
        result.get()


def test_data_is_refused(context):
    with context.Pool(1) as pool:
        for function in (callable, lambda _: None):
            with pytest.raises(REFUSED):
                pool.map(function, [lambda: 1])
            with pytest.raises(REFUSED):
                pool.apply(function, (lambda: 1,))
        assert pool.map(callable, [1]) == [False]
    with pytest.raises(REFUSED):
        context.Queue().put(lambda: 1)


def test_without_cloudpickle_pickle_has_the_last_word(context, monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # as if it were not installed
    with context.Pool(1) as pool:
        with pytest.raises(REFUSED):
            pool.map(lambda n: n, [1])
    process = context.Process(target=lambda: sys.exit(7))
    if context.get_start_method() == "fork":
        process.start()  # which pickles nothing
        process.join()
        assert process.exitcode == 7
    else:
        with pytest.raises(REFUSED):
            process.start()


PROGRAM = """\
import sys
import ramet as mp

class Point:
    def __init__(self, x):
        self.x = x

def double(n):
    return 2 * n

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    with mp.Pool(2) as pool:
        points = [Point(n) for n in range(3)]
        print(pool.map(lambda p: double(p.x) if isinstance(p, Point) else "another", points))
"""


def test_classes_and_functions_of_the_main_module_go_by_name(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run(program, method) == (0, "[0, 2, 4]\n", "")
