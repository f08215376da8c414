# SPDX-License-Identifier: MIT
"""Programs that say `multiprocessing` and get ramet: `python -m ramet`, and `ramet.install()`."""

import os
import signal
import textwrap

import pytest
from family import run


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def both(*argv, env=None):
    """A program under Python alone, and with ramet: (exit code, output, errors) of each."""
    return run(*argv, env=env), run("-m", "ramet", *argv, env=env)


# ------------------------------------------------------------------ as under Python alone

FACTS = """
import sys
print(sys.argv, __name__, __file__, __spec__ and __spec__.name, repr(__package__))
print(sys.path[0], sorted(name for name in globals() if name != "__annotations__"))
print(sys.modules["__main__"].__dict__ is globals(), __doc__, type(__loader__).__name__)
"""


def test_a_script_sees_what_it_sees_under_python(tmp_path):
    script = write(tmp_path / "script.py", FACTS)
    alone, ours = both(script, "-m", "--flag", "a b")
    assert ours == alone
    assert alone[0] == 0 and "--flag" in alone[1]


def test_a_module_sees_what_it_sees_under_python(tmp_path):
    write(tmp_path / "pkg" / "__init__.py", "")
    write(tmp_path / "pkg" / "part.py", FACTS)
    write(tmp_path / "pkg" / "__main__.py", FACTS)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for name in ("pkg", "pkg.part"):
        alone, ours = both("-m", name, "x", "-m", env={"PYTHONPATH": paths})
        assert ours == alone
        assert alone[0] == 0 and "pkg" in alone[1]


def test_a_folder_with_a_main_program(tmp_path):
    write(tmp_path / "app" / "__main__.py", FACTS)
    alone, ours = both(tmp_path / "app", "x")
    assert ours == alone
    assert alone[0] == 0


ENDS = {
    "a number": "import sys; sys.exit(3)",
    "a message": "import sys; sys.exit('no')",
    "an exception": """
        def fail():
            raise ValueError("wrong")

        try:
            fail()
        except ValueError as error:
            raise KeyError("worse") from error
    """,
    "an error of syntax": "print(1",
    "its own hook": """
        import sys
        sys.excepthook = lambda kind, error, trace: print("caught", kind.__name__)
        1 / 0
    """,
    "an interrupt": "import os, signal; os.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    "its exit functions": "import atexit; atexit.register(print, 'bye'); print('hello')",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_as_under_python(end, tmp_path):
    script = write(tmp_path / "script.py", ENDS[end])
    alone, ours = both(script)
    assert ours == alone
    if end == "an interrupt":
        assert alone[0] == -signal.SIGINT


def test_what_cannot_be_run(tmp_path):
    alone, ours = both(tmp_path / "none.py")
    assert ours == alone and alone[0] == 2
    alone, ours = both("-m", "no_such_module_here")
    assert (ours[0], ours[2].splitlines()[-1]) == (alone[0], alone[2].splitlines()[-1])
    code, out, err = run("-m", "ramet")
    assert (code, out) == (2, "") and err.startswith("usage: python -m ramet")
    code, out, err = run("-m", "ramet", "--help")
    assert (code, err) == (0, "") and out.startswith("usage: python -m ramet")


# --------------------------------------------------------------------------------- with ramet

PROGRAM = """
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.pool
import sys
from multiprocessing import Lock, Pool, Process, Queue, Value
from multiprocessing.managers import BaseManager
from multiprocessing.queues import Queue as QueueClass
from multiprocessing.shared_memory import SharedMemory


class Worker(multiprocessing.Process):
    def __init__(self, queue, lock, value):
        super().__init__(name="worker", daemon=True)
        self.mine = queue, lock, value

    def run(self):
        queue, lock, value = self.mine
        with lock:
            value.value += 1
        queue.put([multiprocessing.current_process().name, multiprocessing.get_start_method(),
                   type(queue).__module__, type(multiprocessing.Event()).__module__, __name__])


def square(number):
    return number * number


def nested(queue):
    grandchild = Process(target=queue.put, args=("from a grandchild",))
    grandchild.start()
    grandchild.join()
    queue.put(type(grandchild._popen).__module__)


if __name__ == "__main__":
    method = sys.argv[1]
    multiprocessing.set_start_method(method)
    queue, lock, value = Queue(), Lock(), Value("i")
    print(type(queue).__module__, isinstance(queue, QueueClass), type(lock).__module__)
    worker = Worker(queue, lock, value)
    worker.start()
    print(queue.get())
    worker.join()
    print(worker.exitcode, value.value, type(worker._popen).__module__)
    with Pool(2) as pool:
        print(pool.map(square, range(4)), type(pool).__module__)
    with multiprocessing.pool.ThreadPool(2) as pool:
        print(pool.map(square, range(4)))
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        print(list(executor.map(square, range(4))), type(executor).__module__)
    with multiprocessing.Manager() as manager:
        print(manager.list([1, 2]), type(manager).__module__)
        print(manager.Pool(1).map(square, [3]))
    a, b = multiprocessing.Pipe()
    a.send(1)
    print(multiprocessing.connection.wait([b], 60) == [b], type(a).__module__)
    process = multiprocessing.get_context(method).Process(target=nested, args=(queue,))
    process.start()
    print(queue.get(), queue.get())
    process.join()
"""

PRINTED = """\
ramet.queues True ramet.synchronize
['worker', '{method}', 'ramet.queues', 'ramet.synchronize', '{main}']
0 1 ramet.popen_{method}
[0, 1, 4, 9] ramet.pool
[0, 1, 4, 9]
[0, 1, 4, 9] ramet.executor
[1, 2] ramet.managers
[9]
True ramet.connection
from a grandchild ramet.popen_{method}
"""


def printed(method):
    return PRINTED.format(method=method, main="__main__" if method == "fork" else "__mp_main__")


def test_a_script_and_its_children_have_ramet(method, tmp_path):
    script = write(tmp_path / "script.py", PROGRAM)
    assert run("-m", "ramet", script, method) == (0, printed(method), "")


def test_a_module_and_its_children_have_ramet(method, tmp_path):
    write(tmp_path / "program.py", PROGRAM)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    outcome = run("-m", "ramet", "-m", "program", method, env={"PYTHONPATH": paths})
    assert outcome == (0, printed(method), "")


def test_from_within(method, tmp_path):
    script = write(tmp_path / "script.py", f"import ramet; ramet.install()\n{PROGRAM}")
    assert run(script, method) == (0, printed(method), "")


def test_from_within_after_everything_was_imported(method, tmp_path):
    """The names that the program has are those of the standard library, and make what is ours."""
    head, guard, body = PROGRAM.partition('if __name__ == "__main__":\n')
    late = f"{head}{guard}    import ramet\n    ramet.install()\n{body}"
    script = write(tmp_path / "script.py", late)
    assert run(script, method) == (0, printed(method), "")


def test_the_method_that_was_chosen_before_stays(method, tmp_path):
    text = f"""
        import multiprocessing
        from multiprocessing import get_start_method, get_context
        multiprocessing.set_start_method({method!r})
        import ramet
        ramet.install()
        ramet.install()
        assert multiprocessing.get_start_method() == get_start_method() == {method!r}
        assert ramet.get_start_method() == {method!r}
        assert get_context() is multiprocessing.get_context() is ramet.get_context()
        assert get_context("spawn") is ramet.get_context("spawn")
    """
    assert run(write(tmp_path / "script.py", text)) == (0, "", "")


def test_every_module_can_still_be_imported_by_name(tmp_path):
    text = """
        import ramet
        ramet.install()
        import multiprocessing.queues, multiprocessing.context, multiprocessing.managers
        from multiprocessing import *
        from multiprocessing import connection, dummy, heap, pool, process, reduction, util
        import ramet.queues
        assert multiprocessing.queues is ramet.queues
        assert pool.Pool.__module__ == "ramet.pool"
        assert Queue().__class__ is ramet.queues.Queue
        assert process.current_process() is current_process()
    """
    assert run(write(tmp_path / "script.py", text)) == (0, "", "")
