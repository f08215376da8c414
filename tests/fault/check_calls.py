#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""That the fault injection leaves out no call of the layers that can fail.

Every function of the C library that they use is either wrapped, or known to have no failure that is
to be tested.
"""

import re
import subprocess
import sys

# By why they are not failed on purpose.
NOT_FAILED = {
    "they have no error, or none that a caller could see": """
        abort atoi bcmp clearenv clock_gettime close closedir dprintf _exit fclose ferror fflush
        fgets fprintf fputc fputs fscanf fwrite getauxval getegid geteuid getgid getpid getppid
        getrlimit gettid getuid memcmp memcpy memmove memset munmap putchar puts qsort readdir
        rewinddir snprintf sscanf stderr stpcpy strchr strcmp strcpy strcspn strerror strlen strncmp
        strnlen strrchr strstr strtol strtoul strtoull umask vdprintf vsnprintf write environ
        dl_iterate_phdr explicit_bzero getgroups getpriority getresgid getresuid stat
    """,
    "they fail only for arguments that the layers do not pass": """
        pthread_attr_destroy pthread_attr_setdetachstate pthread_attr_setstacksize
        pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_trylock
        pthread_mutex_unlock pthread_once pthread_self pthread_setcancelstate pthread_sigmask
        sched_getaffinity sched_yield sigaction sigaddset sigdelset sigemptyset sigfillset
        sigismember sigpending sysconf
        posix_spawn_file_actions_destroy kill pthread_kill nanosleep
    """,
    "on pipes, sockets and files of /proc that are open they fail by the other side's doing": """
        read recv
    """,
    "that there is no such child is what they tell": "waitid waitpid",
}
COMPILER = re.compile(
    r"^(__(asan|ubsan|tsan|sanitizer|gcov)_|__(?!isoc)\w+(?<!_chk)(?<!_2)$|_GLOBAL_OFFSET_TABLE_|_Unwind|rmt_|ramet_)"
)


def plain(symbol: str) -> str:
    """The C name of what the C library's headers made of it."""
    symbol = re.sub(r"^__isoc(99|23)_", "", symbol)
    symbol = re.sub(r"^__(\w+?)(_chk|_2)$", r"\1", symbol)
    return re.sub(r"^(\w+?)64$", r"\1", symbol)


def main() -> int:
    wrapped = {plain(name) for name in sys.argv[1].split(",")}
    known = wrapped | {name for names in NOT_FAILED.values() for name in names.split()}
    missing = set()
    for library in sys.argv[2:]:
        symbols = subprocess.run(["nm", "-u", library], capture_output=True, text=True, check=True)
        for match in re.finditer(r"^\s+U (\S+)$", symbols.stdout, re.MULTILINE):
            symbol = match[1].split("@")[0]
            if plain(symbol) not in known and not COMPILER.match(symbol):
                missing.add(plain(symbol))
    for name in sorted(missing):
        print(f"{name}: neither failed by tests/fault nor named in {sys.argv[0]}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
