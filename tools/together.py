# SPDX-License-Identifier: MIT
"""Run several commands at the same time, each into a log of its own, and show the logs in order.

    python tools/together.py PLAN.json

The plan is a list of {"title", "command", "env", "log"}; each gets its exit code as "code", and the
plan is written back. Tests wait more than they compute, so that more of them than processors run at
once pays; and they have to pass with all processors busy anyway.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_ONCE = 4


def run(job: dict) -> dict:
    with open(job["log"], "w") as log:
        code = subprocess.call(job["command"], env=job["env"], stdout=log, stderr=log)
    return {**job, "code": code}


def main(path: str) -> None:
    jobs = json.loads(Path(path).read_text())
    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = []
        for job in threads.map(run, jobs):
            print(f"ramet: {job['title']}\n{Path(job['log']).read_text()}", flush=True)
            done.append(job)
    Path(path).write_text(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1])
