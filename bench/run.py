# SPDX-License-Identifier: MIT
"""Side by side with multiprocessing: what make bench runs.

Each case is measured with the standard library, with ramet, and with the standard library again, in
that order, round after round. The table shows the time of one operation, the ratio of ramet to the
standard library (below 1 is faster) with its spread over the rounds, and the spread of the standard
library against itself: a difference within that is noise. The exit code is 1 when ramet is slower
than that in any line.

A second table, `--table c`, holds libramet against the limits of the machine (bench/native.py).
--only, or CASE in the environment (make bench CASE=queue), chooses lines of both.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys

import native
from case import load
from report import HEADINGS, Line, Round, row

HERE = pathlib.Path(__file__).parent
WATCHDOG = 300


def measure(package, case, count):
    """The seconds for one operation, measured in a process of its own."""
    argv = [sys.executable, str(HERE / "measure.py"), package, str(count), case.name]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=WATCHDOG)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{case.name}: {package} did not end in {WATCHDOG} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise SystemExit(f"{case.name}: {package} failed with {process.returncode}")
    return float(output)


def run(case, rounds, quick):
    """One line of the table."""
    count = max(1, case.count // 10) if quick else case.count
    order = ("multiprocessing", "ramet", "multiprocessing")
    return Line(
        case.name,
        [Round(*(measure(package, case, count) for package in order)) for _ in range(rounds)],
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the operations")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each case (default 5)")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="the cases whose name contains NAME"
    )
    parser.add_argument("--table", choices=("python", "c"), help="this one only")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write all figures there")
    options = parser.parse_args()
    if os.environ.get("CASE"):
        options.only = [*(options.only or []), os.environ["CASE"]]
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def chosen(only):
    """The cases to run; all of them unless some are named."""
    return [
        case
        for case in load().values()
        if not only or any(part.lower() in case.name.lower() for part in only)
    ]


def main():
    options = parse_arguments()
    wanted = chosen(options.only) if options.table != "c" else []
    load_average = os.getloadavg()[0]
    machine = f"{platform.machine()}, {os.cpu_count()} processors, load {load_average:.1f}"
    lines = []
    if wanted:
        print(f"CPython {platform.python_version()}, Linux {platform.release()}, {machine}\n")
        print(row(HEADINGS), flush=True)
    for case in wanted:
        lines.append(run(case, options.rounds, options.quick))
        print(row(lines[-1].cells()), flush=True)

    pairs = []
    if options.table != "python":
        pairs = native.table(options.rounds, options.quick, options.only)
    if not lines and not pairs:
        raise SystemExit(f"no such case; in the first table there are: {', '.join(load())}")
    if options.json:
        figures = {"python": sys.version, "machine": machine, "rounds": options.rounds}
        figures["lines"] = [line.record() for line in lines]
        figures["native"] = [pair.record() for pair in pairs]
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    slower = [line.name for line in lines if line.slower]
    missed = [pair.case for pair in pairs if pair.missed]
    if missed:
        print(f"\nbeyond what is wanted: {', '.join(dict.fromkeys(missed))}")
    if slower:
        print(f"\nslower than the standard library: {', '.join(slower)}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
