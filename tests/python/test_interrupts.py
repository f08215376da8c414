# SPDX-License-Identifier: MIT
"""A signal ends every wait, also one that comes while the wait is between two sleeps."""

import pytest
from family import run

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
