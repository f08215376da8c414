# SPDX-License-Identifier: MIT
"""Whether a process has ended, by its pidfd.

A pidfd is readable once every thread of that very process is gone, and it never comes to mean
another process.
"""

import math
import select
import time

_LONGEST = 2**31 - 1  # milliseconds that poll can be told


def ended(pidfd: int, timeout: float | None = 0) -> bool:
    """Whether the process is gone, after at most `timeout` seconds (None: for ever)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if timeout is None:
        return bool(poll.poll())
    deadline = time.monotonic() + timeout
    while True:
        left = math.ceil(max(timeout, 0) * 1000)
        if poll.poll(min(left, _LONGEST)):
            return True
        timeout = deadline - time.monotonic()
        if timeout <= 0:
            return False
