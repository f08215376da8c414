# SPDX-License-Identifier: MIT
"""What docs/migrating.md says of loky and billiard: the same programs before and after."""

import inspect
import multiprocessing.pool

import billiard.pool
import pytest
import ramet
from family import run
from ramet.pool import WorkerDied

BILLIARD = """\
import importlib, os, sys

mp = importlib.import_module(sys.argv[1])
pool = importlib.import_module(sys.argv[1] + ".pool")

def task(number):
    if number == 3:
        os.kill(os.getpid(), 9)
    return number * number

def inner(number):
    process = mp.Process(target=task, args=(number,))
    process.start()
    process.join()
    return process.exitcode

def fill(queue):
    for number in range(5):
        queue.put(number)

if __name__ == "__main__":
    queue = mp.Queue()
    process = mp.Process(target=fill, args=(queue,))
    process.start()
    print([queue.get() for _ in range(5)])
    process.join()
    workers = pool.Pool(2, maxtasksperchild=5)
    results = [workers.apply_async(task, (number,)) for number in range(5)]
    for number, result in enumerate(results):
        try:
            print(number, result.get())
        except Exception as error:
            print(number, "is lost")
    print("child of a worker:", workers.apply(inner, (1,)))
    workers.close()
    workers.join()
"""

SAID = """\
[0, 1, 2, 3, 4]
0 0
1 1
2 4
3 is lost
4 16
child of a worker: 0
"""


@pytest.mark.parametrize("module", ["billiard", "ramet"])
def test_billiard(module, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BILLIARD)
    code, out, err = run(program, module)
    assert (code, out) == (0, SAID), err


def test_what_of_billiard_there_is_not():
    for name in ("grow", "shrink", "restart"):
        assert hasattr(billiard.pool.Pool, name) and not hasattr(ramet.pool.Pool, name)
    for option in ("timeout", "soft_timeout", "max_memory_per_child", "on_process_up"):
        assert option not in inspect.signature(ramet.pool.Pool).parameters
    assert issubclass(ramet.pool.Pool, multiprocessing.pool.Pool)
    assert issubclass(WorkerDied, RuntimeError)


LOKY = """\
import os, sys

if sys.argv[1] == "loky":
    from loky import get_reusable_executor
    make = lambda: get_reusable_executor(max_workers=2)
else:
    import ramet
    ramet.set_start_method("forkserver")
    executor = ramet.ProcessPoolExecutor(2)
    make = lambda: executor

if __name__ == "__main__":
    step = 5
    print(list(make().map(lambda number: number + step, range(3))))
    lost = make().submit(lambda: os.kill(os.getpid(), 9))
    print("lost:", isinstance(lost.exception(), RuntimeError))
    print(make().submit(lambda: step).result())
    data = make().submit(callable, lambda: step)
    print("data by value:", data.exception() is None)
    make().shutdown()
"""


@pytest.mark.parametrize("module", ["loky", "ramet"])
def test_loky(module, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(LOKY)
    code, out, err = run(program, module)
    by_value = module == "loky"
    assert code == 0, err
    assert out == f"[5, 6, 7]\nlost: True\n5\ndata by value: {by_value}\n", err
