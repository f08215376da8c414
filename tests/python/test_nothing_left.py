# SPDX-License-Identifier: MIT
"""What stays behind: no process, and no name in /dev/shm, however the program ends."""

import contextlib
import os
import pathlib
import re
import signal
import sysconfig
import time

import pytest
from family import EXAMPLES, WATCHDOG, Family, run

SHM = pathlib.Path("/dev/shm")
CENSUS = EXAMPLES / "census.py"

# Enough work for a second or two, so that a kill lands in the middle of it.
SOURCES = [
    os.path.join(sysconfig.get_path("stdlib"), name) for name in ("asyncio", "email", "json")
]


def in_use():
    """The names in /dev/shm that some living process has mapped or open."""
    used = set()
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            used.update(re.findall(r"/dev/shm/(\S+)", (process / "maps").read_text()))
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(descriptor)
                    if target.startswith("/dev/shm/"):
                        used.add(target.removeprefix("/dev/shm/"))
    return used


@contextlib.contextmanager
def nothing_new_in_shm():
    """Fail when a name is new in /dev/shm afterwards and belongs to nobody who is alive.

    Other programs on the machine come and go meanwhile, so a name counts only when it stays and no
    living process has it open: that is what a leak is.
    """
    before = set(os.listdir(SHM))
    yield
    end = time.monotonic() + WATCHDOG
    while left := set(os.listdir(SHM)) - before - in_use():
        assert time.monotonic() < end, f"left in /dev/shm: {sorted(left)}"
        time.sleep(0.05)


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.2, 0.5])
def test_census_killed_in_the_middle(method, moment):
    with nothing_new_in_shm():
        with Family(CENSUS, "--start-method", method, *SOURCES) as family:
            wait_for_turn_of("ramet.Pool", family.process.stdout)
            time.sleep(moment)
            os.kill(family.process.pid, signal.SIGKILL)
            family.process.wait()
            family.assert_gone()


def wait_for_turn_of(way, stream):
    """Read what the program prints until the way of working is named, that is, until it begins."""
    seen = ""
    while way not in seen:
        character = stream.read(1)
        assert character, f"ended before its time: {seen}"
        seen += character


HOLDER = """\
import os, sys, time
import ramet as mp

def child(ready, queue, connection, lock):
    with lock:
        queue.put(b"x" * 1_000_000)
        ready.release()
        connection.recv()

def parent():
    ready = mp.Semaphore(0)
    lock = mp.Lock()
    queue = mp.Queue()
    value = mp.Value("i", 0)
    event = mp.Event()
    ours, theirs = mp.Pipe()
    process = mp.Process(target=child, args=(ready, queue, theirs, lock), daemon=DAEMON)
    process.start()
    ready.acquire()
    pool = mp.Pool(2)
    waiting = pool.map_async(time.sleep, [600, 600])
    print("ready", flush=True)
    END

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    parent()
"""


@pytest.mark.parametrize(
    "end", ["event.wait()", "os.kill(os.getpid(), 9)", "os._exit(3)", "os.kill(0, 15)"]
)
def test_killed_while_it_holds_everything(method, end, tmp_path):
    """Daemonic children and workers end with their parent, whatever they wait for."""
    program = tmp_path / "holder.py"
    program.write_text(HOLDER.replace("DAEMON", "True").replace("END", end))
    with nothing_new_in_shm(), Family(program, method) as family:
        wait_for_turn_of("ready", family.process.stdout)
        if end == "event.wait()":
            os.kill(family.process.pid, signal.SIGKILL)
        family.process.wait()
        family.assert_gone()


@pytest.mark.parametrize("end", ["return", "sys.exit(0)", "raise KeyError('this')"])
def test_normal_end_while_workers_are_busy(method, end, tmp_path):
    """Daemonic children and workers do not outlive a program that simply ends."""
    program = tmp_path / "holder.py"
    program.write_text(HOLDER.replace("DAEMON", "True").replace("END", end))
    with nothing_new_in_shm():
        code, out, err = run(program, method)
    assert (code, out) == (1 if "raise" in end else 0, "ready\n")
    assert ("KeyError" in err) == ("raise" in end), err


def test_all_programs_in_shm(method):
    """The example programs leave no name; that they leave no process, test_programs.py checks."""
    with nothing_new_in_shm():
        for program in sorted(EXAMPLES.glob("0[1-9]_*.py")):
            code, _, err = run(program, method)
            assert (code, err) == (0, ""), program
