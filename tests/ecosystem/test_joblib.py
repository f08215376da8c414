# SPDX-License-Identifier: MIT
"""joblib and scikit-learn on the backend `ramet`."""

import os
import signal
import sys
import threading
import time

import joblib
import numpy
import pytest
import ramet
import ramet.joblib
from family import run
from fixtures import START_METHODS
from joblib import Parallel, delayed, parallel_config
from ramet.pool import WorkerDied


@pytest.fixture(autouse=True)
def registered(request):
    """The backend is there and chosen; the start method of its workers."""
    start_method = getattr(request, "param", "forkserver")
    ramet.joblib.register(start_method=start_method)
    with parallel_config(backend="ramet", n_jobs=2):
        yield start_method
    ramet.joblib.shutdown()


every_method = pytest.mark.parametrize("registered", START_METHODS, indirect=True)


def square(number):
    return number * number


@every_method
def test_results():
    assert Parallel()(delayed(square)(n) for n in range(100)) == [n * n for n in range(100)]
    assert Parallel(n_jobs=1)(delayed(square)(n) for n in range(3)) == [0, 1, 4]
    assert Parallel(n_jobs=-1)(delayed(square)(n) for n in range(3)) == [0, 1, 4]
    assert Parallel(batch_size=7)(delayed(square)(n) for n in range(20)) == [
        n * n for n in range(20)
    ]
    assert Parallel()([]) == []
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)(delayed(square)(n) for n in range(3))


def test_the_work_is_done_elsewhere_and_by_the_same_workers_again():
    def pids():
        return set(Parallel(pre_dispatch="all", batch_size=1)(delayed(os.getpid)() for _ in "abcd"))

    first = pids()
    assert os.getpid() not in first
    assert len(first | pids() | pids()) <= 2


def test_generators():
    results = Parallel(return_as="generator")(delayed(square)(n) for n in range(50))
    assert list(results) == [n * n for n in range(50)]
    results = Parallel(return_as="generator_unordered")(delayed(square)(n) for n in range(50))
    assert sorted(results) == [n * n for n in range(50)]
    dropped = Parallel(return_as="generator")(delayed(square)(n) for n in range(50))
    assert next(dropped) == 0
    del dropped
    assert Parallel()(delayed(square)(n) for n in range(5)) == [0, 1, 4, 9, 16]


@every_method
def test_closures_and_local_classes():
    class Point:
        def __init__(self, x):
            self.x = x

    step = 10
    points = Parallel()(delayed(lambda p: Point(p.x + step))(Point(n)) for n in range(5))
    assert [point.x for point in points] == [10, 11, 12, 13, 14]
    assert all(type(point) is Point for point in points)
    functions = Parallel()(delayed(lambda n: lambda: n + step)(n) for n in range(5))
    assert [function() for function in functions] == [10, 11, 12, 13, 14]


@every_method
def test_arrays():
    arrays = [numpy.full(size, 7.5) for size in (0, 10, 1000, 1_000_000)]

    def double(array):
        array *= 2  # what arrives is writable, and nobody else's
        return array

    for _ in range(2):
        doubled = Parallel()(delayed(double)(array) for array in arrays)
        assert all((got == 15).all() and got.flags.writeable for got in doubled)
    assert all((array == 7.5).all() for array in arrays)


@every_method
def test_objects_of_ramet():
    queue, lock = ramet.Queue(), ramet.Lock()

    def put(number):
        with lock:
            queue.put(number)

    Parallel()(delayed(put)(n) for n in range(20))
    assert sorted(queue.get_many()) == list(range(20))


class Unready(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def fails(number, error):
    if number == 3:
        raise error
    return number


def test_exceptions():
    class Local(Exception):
        pass

    for error in (ValueError("not 3"), Local("not 3")):
        with pytest.raises(type(error), match="not 3") as caught:
            Parallel()(delayed(fails)(n, error) for n in range(10))
        assert "in fails" in str(caught.value.__cause__)
    with pytest.raises(TypeError):
        Parallel()(delayed(lambda: Unready(1, 2))() for n in range(4))
    with pytest.raises(Exception, match="pickle"):
        Parallel()(delayed(threading.Lock)() for n in range(4))
    assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker():
    with pytest.raises(WorkerDied, match="SIGKILL"):
        Parallel()(delayed(die)(n) for n in range(10))
    assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_timeout():
    with pytest.raises(ramet.TimeoutError):
        Parallel(timeout=0.2)(delayed(time.sleep)(600) for _ in range(2))
    assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_two_threads_at_once():
    """One thread's failure does not end the other's workers."""
    seen, barrier = {}, threading.Barrier(2)

    def work(name, function):
        with parallel_config(backend="ramet", n_jobs=2):
            barrier.wait()
            try:
                seen[name] = Parallel()(delayed(function)(n) for n in range(200))
            except WorkerDied:
                seen[name] = "died"

    threads = [
        threading.Thread(target=work, args=(name, function))
        for name, function in (("good", square), ("bad", die))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"good": [n * n for n in range(200)], "bad": "died"}


def nested(number):
    return sum(Parallel(n_jobs=2)(delayed(square)(n) for n in range(number)))


def nested_in_processes(number):
    with parallel_config(backend="ramet", n_jobs=2):
        return nested(number)


@pytest.mark.parametrize("function", [nested, nested_in_processes])
def test_parallel_inside_of_tasks(function):
    assert Parallel()(delayed(function)(n) for n in range(6)) == [0, 0, 1, 5, 14, 30]


def threads_of(variable):
    return os.environ.get(variable)


def test_inner_threads():
    with parallel_config(backend="ramet", n_jobs=2, inner_max_num_threads=3):
        assert Parallel()(delayed(threads_of)("OMP_NUM_THREADS") for _ in range(4)) == ["3"] * 4


def test_cross_validation_and_grid_search():
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    features, labels = datasets.load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500)
    alone = cross_val_score(model, features, labels, cv=4, n_jobs=1)
    assert (cross_val_score(model, features, labels, cv=4, n_jobs=2) == alone).all()
    search = GridSearchCV(model, {"C": [0.1, 1, 10]}, cv=3, n_jobs=2).fit(features, labels)
    assert search.best_score_ > 0.9
    forest = RandomForestClassifier(n_estimators=20, random_state=1, n_jobs=2)
    assert forest.fit(features, labels).score(features, labels) > 0.9


# No guard, and a class of its own: as users of joblib's own backend are wont to write.
PROGRAM = """\
import os, sys
import joblib
import ramet.joblib

ramet.joblib.register(make_default=True, start_method=sys.argv[1])

class Point:
    def __init__(self, x):
        self.x = x

def move(point):
    return Point(point.x + 1)

points = joblib.Parallel(n_jobs=2)(joblib.delayed(move)(Point(n)) for n in range(3))
print([point.x for point in points], all(type(point) is Point for point in points))
"""


@every_method
def test_a_program_without_a_guard(registered, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run(program, registered) == (0, "[1, 2, 3] True\n", "")
    assert run("-c", PROGRAM, registered) == (0, "[1, 2, 3] True\n", "")


def test_a_forked_child_has_workers_of_its_own():
    Parallel()(delayed(square)(n) for n in range(3))
    pid = os.fork()
    if pid == 0:
        ok = Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]
        ramet.joblib.shutdown()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]


def test_the_backend_says_what_it_is():
    assert joblib.effective_n_jobs(3) == 3
    assert joblib.effective_n_jobs(-1) == ramet.cpu_count()
    assert "joblib" in sys.modules
