# SPDX-License-Identifier: MIT
"""A signal ends every wait, also one that comes while the wait is between two sleeps."""

import os
import signal

import pytest
from family import Family, run

# One millisecond is where the first slice of a sleep ends: there a signal that only interrupts
# system calls, and is looked for by nobody else, is lost most easily.
PROGRAM = """\
import signal, sys, time
import ramet as mp

class Alarm(Exception):
    pass

def ring(*_):
    raise Alarm

def identity(value):
    return value

signal.signal(signal.SIGALRM, ring)
lock, semaphore, event, queue = mp.Lock(), mp.Semaphore(0), mp.Event(), mp.Queue()
condition, barrier, (ours, theirs) = mp.Condition(), mp.Barrier(2), mp.Pipe()
lock.acquire()
condition.acquire()
full = mp.Queue(1)
full.put(0)
waits = {
    "lock": lock.acquire,
    "lock with a time-out": lambda: lock.acquire(timeout=600),
    "semaphore": semaphore.acquire,
    "event": event.wait,
    "condition": condition.wait,
    "queue get": queue.get,
    "queue put": lambda: full.put(1),
    "pipe": ours.recv,
    "pipe poll": lambda: ours.poll(600),
}
if sys.argv[1] == "pool":
    with mp.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(time.sleep, (600,))
        for _ in range(20):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                result.get()
            except Alarm:
                pass
else:
    for _ in range(20):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            waits[sys.argv[1]]()
        except Alarm:
            pass
print("every signal was handled")
"""

WAITS = [
    "lock",
    "lock with a time-out",
    "semaphore",
    "event",
    "condition",
    "queue get",
    "queue put",
    "pipe",
    "pipe poll",
    "pool",
]


@pytest.mark.parametrize("wait", WAITS)
def test_signal_ends_the_wait(wait, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run(program, wait) == (0, "every signal was handled\n", "")


BUSY_POOL = """\
import os, sys, time
import ramet as mp

def busy(item):
    os.write(1, b"busy\\n")
    while item % 2:
        pass
    time.sleep(600)

if __name__ == "__main__":
    mp.set_start_method(sys.argv[1])
    with mp.Pool(4) as pool:
        pool.map(busy, range(100), chunksize=1)
"""


def test_an_interrupt_in_the_terminal_ends_a_busy_pool(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BUSY_POOL)
    with Family(program, method) as family:
        for _ in range(4):
            assert family.process.stdout.readline() == "busy\n"
        # As the terminal does: to everyone in the foreground, the fork server and the workers too.
        os.killpg(family.process.pid, signal.SIGINT)
        code, out, err = family.finish()
        family.assert_gone()
    assert (code, out) == (-signal.SIGINT, "")
    assert err.count("Traceback") == 1 and err.endswith("\nKeyboardInterrupt\n")
    assert "pool.map(busy" in err and "Process " not in err
