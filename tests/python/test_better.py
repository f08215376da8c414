# SPDX-License-Identifier: MIT
"""What works with ramet and not with the standard library: the same programs with both.

The programs are those of the folder `better`; docs/better.md is the table. That a program fails
with the standard library is seen from its end without "good", that it hangs from its not ending a
while after it has said that it begins.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from family import WATCHDOG, Family, run

BETTER = pathlib.Path(__file__).parent / "better"
PATIENCE = 1  # seconds; what hangs is known to, and any time would do

FAILS, HANGS = "fails", "hangs"
WITH_THE_STANDARD_LIBRARY = {
    "closures": FAILS,
    "daemon_with_children": FAILS,
    "endless_input": FAILS,
    "join_before_get": HANGS,
    "killed_in_get": HANGS,
    "killed_in_put": HANGS,
    "killed_with_lock": HANGS,
    "many_handles": FAILS,
    "put_is_there": FAILS,
    "put_unpicklable": FAILS,
    "send_handles": HANGS,
    "unpicklable_outcome": HANGS,
    "worker_killed": HANGS,
}
# Under fork nothing is pickled; and that is the method with the most in common otherwise.
METHOD = {"closures": "spawn"}
NEEDS = {"closures": "cloudpickle"}


def path_of(name):
    return BETTER / f"{name}.py"


def good(result):
    code, out, err = result
    assert (code, out) == (0, "begun\ngood\n"), err
    return err


def until_read(stream, text):
    seen = ""
    while text not in seen:
        character = stream.read(1)
        assert character, seen
        seen += character


def ends(family, patience):
    """Whether a program that has begun ends within so many seconds."""
    assert family.process.stdout.readline() == "begun\n"
    try:
        family.process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize("name", WITH_THE_STANDARD_LIBRARY)
def test_ramet(name, method):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    good(run(path_of(name), "ramet", method))


@pytest.mark.parametrize(("name", "how"), WITH_THE_STANDARD_LIBRARY.items())
def test_the_standard_library(name, how):
    # The last is a time for what is seen from nothing's happening: here something happens before.
    with Family(path_of(name), "multiprocessing", METHOD.get(name, "fork"), WATCHDOG) as family:
        if how == HANGS:
            assert not ends(family, PATIENCE)
        else:
            code, out, err = family.finish()
            assert code != 0 and "good" not in out
            assert "Error" in err


def test_the_table_has_all_programs():
    apart = {"better", "interrupted", "left_behind", "typed_in", "without_shm"}
    assert {path.stem for path in BETTER.glob("*.py")} == {*WITH_THE_STANDARD_LIBRARY, *apart}


# ------------------------------------------------------------------------------------- typed in


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_functions_that_were_typed_in(method):
    pytest.importorskip("cloudpickle")
    source = path_of("typed_in").read_text()
    good(run("-c", source, "ramet", method))
    with Family("-c", source, "multiprocessing", method) as family:
        if ends(family, PATIENCE):  # some versions raise where others hang
            assert family.process.returncode != 0


PROMPT = """\
pool = mp.Pool(1)
def typed(number):
    return imported(number) + 1

pool.map(typed, [1, 2])
pool.terminate()
exit()
"""

PROGRAM = """\
import sys
import ramet as mp

def imported(number):
    return 10 * number

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_prompt_after_a_program(method, tmp_path):
    """Of `python -i program.py`, what the program has goes by name, what is typed goes by value."""
    pytest.importorskip("cloudpickle")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-i", program, method]
    done = subprocess.run(command, input=PROMPT, capture_output=True, text=True)
    assert done.returncode == 0 and "[11, 21]" in done.stdout, done.stderr


# ----------------------------------------------------------------------------- killed, interrupted


def until_working(family):
    """Wait until the program has its processes, and say how many."""
    assert family.process.stdout.readline() == "begun\n"
    assert family.process.stdout.readline() == "working\n"
    return len(family.members())


def test_killed_it_leaves_nothing(method):
    with Family(path_of("left_behind"), "ramet", method) as family:
        assert until_working(family) >= 1 + 3
        os.kill(family.process.pid, signal.SIGKILL)
        family.process.wait()
        family.assert_gone()


def test_killed_the_standard_library_leaves_its_children():
    with Family(path_of("left_behind"), "multiprocessing", "fork") as family:
        assert until_working(family) == 1 + 3
        os.kill(family.process.pid, signal.SIGKILL)
        family.process.wait()
        time.sleep(PATIENCE)
        assert family.members()


def until_busy(family):
    assert family.process.stdout.readline() == "begun\n"
    for _ in range(4):
        assert family.process.stdout.readline() == "busy\n"


def test_interrupted_it_shows_one_traceback(method):
    with Family(path_of("interrupted"), "ramet", method) as family:
        until_busy(family)
        os.killpg(family.process.pid, signal.SIGINT)  # as a terminal does
        _, _, err = family.finish()
        family.assert_gone()
    assert err.count("Traceback") == 1


def test_interrupted_the_standard_library_shows_many():
    with Family(path_of("interrupted"), "multiprocessing", "fork") as family:
        until_busy(family)
        # Only the workers, or else the main program might end them before they have said it. It is
        # not waited for: some versions hang there for good.
        for pid in family.members().keys() - {family.process.pid}:
            os.kill(pid, signal.SIGINT)
        for _ in range(2):
            until_read(family.process.stderr, "Traceback")


# ------------------------------------------------------------------------------------- /dev/shm

SMALL = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
NONE = """
set -e
mount -t tmpfs tmpfs "$FOLDER"
for name in null zero full random urandom tty; do
    touch "$FOLDER/$name"
    mount --bind "/dev/$name" "$FOLDER/$name"
done
mount --move "$FOLDER" /dev
exec "$@"
"""


def namespace():
    """The command with which a process gets mounts of its own; None if there is none."""
    for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        if shutil.which("unshare"):
            look = [*command, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
            if subprocess.run(look, capture_output=True).returncode == 0:
                return command
    return None


@pytest.fixture
def under(tmp_path):
    """Run a program in a namespace where a script has set up the mounts."""
    command = namespace()
    if command is None:
        pytest.skip("mounts of one's own are not allowed here")

    def start(script, *argv):
        return subprocess.run(
            [*command, "sh", "-c", script, "sh", sys.executable, *argv],
            env={**os.environ, "FOLDER": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    return start


@pytest.mark.parametrize("script", [SMALL, NONE], ids=["64 MB", "none"])
def test_without_shm(under, method, script):
    done = under(script, path_of("without_shm"), "ramet", method)
    assert (done.returncode, done.stdout) == (0, "begun\ngood\n"), done.stderr


def test_without_shm_the_standard_library_has_no_locks(under):
    done = under(NONE, path_of("without_shm"), "multiprocessing", "fork")
    assert done.returncode != 0 and "good" not in done.stdout


# ------------------------------------------------------------------------------ the tree together


TREE = """\
import os, sys, threading, time
import ramet as mp

def leaf(semaphore):
    semaphore.release()
    time.sleep(600)

def branch(semaphore):
    # Of a daemonic process, so that it ends with it, though it is not daemonic itself.
    mp.Process(target=leaf, args=(semaphore,), daemon=False).start()
    pool = mp.Pool(1)
    pool.apply_async(leaf, (semaphore,))
    thread = threading.Thread(target=in_a_thread, args=(semaphore,))
    thread.start()
    time.sleep(600)

def in_a_thread(semaphore):
    mp.Process(target=leaf, args=(semaphore,), daemon=False).start()
    time.sleep(600)

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    semaphore = mp.Semaphore(0)
    process = mp.Process(target=branch, args=(semaphore,), daemon=True)
    process.start()
    pool = mp.Pool(1)
    pool.apply_async(branch, (semaphore,))
    for _ in range(6):
        semaphore.acquire()
    print("grown", flush=True)
    END
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), 9)", "pool.terminate(); process.kill()", "sys.exit()"]
)
def test_the_whole_tree_ends_together(method, end, tmp_path):
    program = tmp_path / "tree.py"
    program.write_text(TREE.replace("END", end))
    with Family(program, method) as family:
        until_read(family.process.stdout, "grown\n")
        family.process.wait()
        family.assert_gone()


def start_ramet(queue):
    import ramet

    try:
        ramet.get_context("fork").Process(target=int).start()
    except AssertionError as error:
        queue.put(str(error))


def test_daemonic_processes_of_the_standard_library_keep_their_rule():
    import multiprocessing

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=start_ramet, args=(queue,), daemon=True)
    process.start()
    process.join()
    assert queue.get() == "daemonic processes are not allowed to have children"
