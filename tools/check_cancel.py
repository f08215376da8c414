#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""That no function of the library is a cancellation point (pthreads(7)).

A thread that is cancelled inside an operation would leave it half done while its process lives. So
each function that calls one of those below says RMT_NO_CANCEL (base/nocancel.h) before.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Of the system calls and the C library's functions, those that are in use or likely to be; after
# pthreads(7) and POSIX.1-2017, XSH 2.9.5.2, with those that "may be" one.
POINTS = """
    accept accept4 close closedir connect copy_file_range creat dprintf epoll_wait fallocate fclose
    fcntl fflush fgets fopen fprintf fputc fputs fread fscanf fsync fwrite getc getdents getline
    getrandom ioctl lseek msync nanosleep open openat opendir pause perror poll posix_fallocate
    ppoll pread printf pselect pthread_cond_timedwait pthread_cond_wait pthread_join
    pthread_testcancel putc puts pwrite read readdir readlink recv recvfrom recvmsg select sem_wait
    send sendmsg sendto sigsuspend sigtimedwait sigwait sleep splice stat fstat syslog system
    tcdrain usleep vdprintf vfprintf wait wait3 waitid waitpid write
""".split()
CALL = re.compile(r"(?<![\w.>])(" + "|".join(POINTS) + r")\s*\(")
# Where nobody can cancel, since the process or the thread is the library's own; and before abort().
ALONE = {"src/process/server.c", "src/process/spare.c"}
EXCEPT = {
    ("src/arena/kind.c", "refuse"),
    ("src/arena/map.c", "rmt_at_slow"),
    ("src/process/follow.c", "watch"),
}
FUNCTION = re.compile(
    r"^(?!#)[^\n;{}]*?(\w+)\([^;{}()]*(?:\([^()]*\)[^;{}()]*)*"
    r"\)\s*\n\{\n(.*?)^\}",
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


def main() -> int:
    wrong = 0
    for path in sorted(ROOT.glob("src/**/*.c")):
        where = path.relative_to(ROOT).as_posix()
        text = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), path.read_text())
        for match in FUNCTION.finditer(text):
            name, body = match.groups()
            call = CALL.search(body)
            if not call or where in ALONE or (where, name) in EXCEPT:
                continue
            said = body.find("RMT_NO_CANCEL;")
            if said < 0 or said > call.start():
                line = text[: match.start(2) + call.start()].count("\n") + 1
                print(f"{where}:{line}: {name} calls {call[1]} and may be cancelled there")
                wrong += 1
    if not wrong:
        print("no function of the library is a cancellation point")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
