#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run a program and its children under valgrind, with what its emulation lacks.

Usage: run.py PRELOAD PROGRAM ARGUMENT...

Serves pidfd_open for the library PRELOAD (see preload.c) until the program ends; exits as it did.
An error that valgrind finds in any of the processes is exit code 99 of that process.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading

VALGRIND = [
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--trace-children=yes",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
    "--fair-sched=yes",
    "--run-libc-freeres=no",  # it frees the array of the environment before leaks are looked for
    "--show-possibly-lost=no",  # the stacks of threads, in a child that was forked beside them
]


def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ConnectionError):
            pid = int.from_bytes(connection.recv(4), sys.byteorder, signed=True)
            try:
                fd = os.pidfd_open(pid)
            except OSError as error:
                connection.send(error.errno.to_bytes(4, sys.byteorder))
            else:
                socket.send_fds(connection, [bytes(4)], [fd])
                os.close(fd)


def main():
    preload, *command = sys.argv[1:]
    name = f"ramet-pidfd-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{name}")
        listener.listen(64)
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        env = {**os.environ, "LD_PRELOAD": preload, "RAMET_PIDFD_SERVER": name}
        code = subprocess.run([*VALGRIND, *command], env=env).returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
