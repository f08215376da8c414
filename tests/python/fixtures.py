# SPDX-License-Identifier: MIT
"""What all tests with pytest share: the start methods, and the last resort against a hang."""

import faulthandler
import os
import signal

import pytest

START_METHODS = ("fork", "spawn", "forkserver")

# pytest-timeout fails a test that hangs, by a signal that the interpreter has to handle. One that
# hangs inside C code never does that; this ends the run, and comes after pytest-timeout's limit.
LAST_RESORT = 960


def pytest_configure(config):
    # Ignored in a shell's background jobs, and inherited so; here programs are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A descriptor of its own: while a test runs, a file stands in the place of standard error.
    config.terminal_descriptor = os.dup(2)


@pytest.fixture(params=START_METHODS)
def method(request):
    """Each start method in turn, as its name."""
    return request.param


@pytest.fixture(autouse=True)
def last_resort(pytestconfig):
    """Show where every thread stands, and exit, when a test can not be stopped otherwise."""
    faulthandler.dump_traceback_later(LAST_RESORT, exit=True, file=pytestconfig.terminal_descriptor)
    yield
    faulthandler.cancel_dump_traceback_later()
