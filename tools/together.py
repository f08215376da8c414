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
from pathlib import Path

AT_ONCE = 4


def start(job: dict) -> subprocess.Popen:
    with open(job["log"], "w") as log:
        return subprocess.Popen(job["command"], env=job["env"], stdout=log, stderr=log)


def main(path: str) -> None:
    jobs = json.loads(Path(path).read_text())
    for first in range(0, len(jobs), AT_ONCE):
        batch = jobs[first : first + AT_ONCE]
        running = [start(job) for job in batch]
        for job, process in zip(batch, running, strict=True):
            job["code"] = process.wait()
            print(f"ramet: {job['title']}\n{Path(job['log']).read_text()}", flush=True)
    Path(path).write_text(json.dumps(jobs))


if __name__ == "__main__":
    main(sys.argv[1])
