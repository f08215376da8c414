# SPDX-License-Identifier: MIT
"""The programs in examples/python, each run as a user runs it, under every start method."""

import os
import re

import pytest
from family import EXAMPLES, run

SQUARES = str([number * number for number in range(10)])

FIXED = {
    "01_process": """\
child: line 1 of 3
child: line 2 of 3
child: line 3 of 3
the child ended with exit code 0
""",
    "03_queue": "".join(f"put {number}\n" for number in range(5))
    + "".join(f"got {number}\n" for number in range(5))
    + "the queue is empty\n",
    "04_pipe": """\
2 squared is 4
3 squared is 9
4 squared is 16
end of file: the child has closed its side
""",
    "05_value": "4 processes added 100000 each: 400000\n",
    "07_pool": f"{SQUARES}\n{sum(number * number for number in range(1000))}\n",
    "09_coordinator": "".join(f"{task} cubed is {task**3}\n" for task in range(12))
    + "exit codes of the workers: [0, 0, 0]\n",
}


def output_of(name, *args):
    """Run the program, which must succeed and have nothing to complain of; its output."""
    code, out, err = run(EXAMPLES / f"{name}.py", *args)
    assert (code, err) == (0, ""), out
    return out


@pytest.mark.parametrize("name", FIXED)
def test_prints_exactly_this(name, method):
    assert output_of(name, method) == FIXED[name]


@pytest.mark.parametrize("name", FIXED)
def test_runs_without_arguments(name):
    assert output_of(name) == FIXED[name]


def test_start_method(method):
    others = [other for other in ("fork", "forkserver", "spawn") if other != method]
    assert output_of("02_start_method", method).splitlines() == [
        f"a child was started with {method}",
        "a second call is an error: context has already been set",
        *(f"a child was started with {other}" for other in others),
    ]


def test_event_and_semaphore(method):
    lines = output_of("06_event_semaphore", method).splitlines()
    assert lines[:2] == [
        "before the event 0 of 4 processes have gone on",
        "after the event 4 of 4 processes have gone on",
    ]
    assert re.fullmatch(r"40 visits, never more than [12] at once", lines[2])
    assert len(lines) == 3


def test_server_answers_during_computation(method):
    lines = output_of("08_asyncio_server", method).splitlines()
    assert lines[0] == "there are 17984 primes below 200000"
    answered = re.fullmatch(r"(\d+) requests were answered during the computation", lines[1])
    # An event loop that the computation blocks answers one request, or two.
    assert int(answered[1]) > 20
    assert len(lines) == 2


# Runs in each interpreter and each forked child of the program under test.
CENSUS_OF_PROCESSES = """\
import os

def note():
    file = os.open(os.environ["RAMET_TEST_PIDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, b"%d\\n" % os.getpid())
    os.close(file)

note()
os.register_at_fork(after_in_child=note)
"""

GUARD = re.compile(r"""if __name__ == ['"]__main__['"]:""")
ENOUGH_PROCESSES = 16  # four workers, a server and its spares; a flood passes it in a second

UNGUARDED_PROCESS = """\
import ramet as mp

def hello():
    print("hello")

context = mp.get_context({method!r})
process = context.Process(target=hello)
process.start()
process.join()
raise SystemExit(process.exitcode)
"""


def run_counted(tmp_path, *argv):
    """Run a program; its exit code, output, error text and the number of processes it took."""
    (tmp_path / "sitecustomize.py").write_text(CENSUS_OF_PROCESSES)
    pids = tmp_path / "pids"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    code, out, err = run(*argv, env={"PYTHONPATH": path, "RAMET_TEST_PIDS": str(pids)})
    return code, out, err, len(pids.read_text().split())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_missing_guard_in_a_pool(method, tmp_path):
    code, out, err, processes = run_counted(tmp_path, EXAMPLES / "10_missing_guard.py", method)
    assert (code, out) == (1, "")
    assert len(GUARD.findall(err)) == 1, err
    assert err.count("RuntimeError:") == 1, err
    assert processes <= ENOUGH_PROCESSES


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_missing_guard_in_a_process(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(UNGUARDED_PROCESS.format(method=method))
    code, out, err, processes = run_counted(tmp_path, program)
    assert (code, out) == (1, "")
    assert len(GUARD.findall(err)) == 1, err
    assert processes <= ENOUGH_PROCESSES


def test_missing_guard_is_no_matter_under_fork(tmp_path):
    code, out, err, processes = run_counted(tmp_path, EXAMPLES / "10_missing_guard.py", "fork")
    assert (code, out, err) == (0, f"{SQUARES}\n", "")
    assert 1 + 4 <= processes <= ENOUGH_PROCESSES
