# SPDX-License-Identifier: MIT
"""The benchmark: every case runs with both packages, and the verdict is what it says it is.

That ramet is not slower is what make bench itself finds out; no test here looks at a time.
"""

import dataclasses
import json
import subprocess
import sys

import pytest
from family import ROOT, run

BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))

import native  # noqa: E402
from case import load  # noqa: E402
from report import Line, Round, duration, row  # noqa: E402


@pytest.mark.parametrize("package", ["multiprocessing", "ramet"])
@pytest.mark.parametrize("name", load())
def test_every_case_runs(name, package):
    code, out, err = run(BENCH / "measure.py", package, 4, name)
    assert (code, err) == (0, "")
    assert float(out) > 0


def line(*rounds):
    return Line("case", [Round(*each) for each in rounds])


def test_slower_beyond_the_spread_of_the_standard_library():
    quiet = [(1.0, 1.2, 1.1), (1.0, 1.3, 1.0), (1.1, 1.2, 1.0)]
    assert line(*quiet).slower
    noisy = [*quiet, (1.0, 1.2, 2.0), (3.0, 1.2, 1.0)]
    assert not line(*noisy).slower
    assert not line((1.0, 1.0, 1.0)).slower
    assert line((1.0, 1.01, 1.0)).slower
    assert not line((1.0, 0.5, 1.0)).slower


def test_ratio_is_the_median_over_rounds():
    assert line((1.0, 0.5, 1.0), (1.0, 2.0, 3.0), (2.0, 8.0, 2.0)).ratio == 1.0


def test_table():
    cells = line((1.0e-3, 0.5e-3, 1.0e-3), (1.0e-3, 0.25e-3, 2.0e-3)).cells()
    assert cells == ("case", "1 ms", "375 us", "0.333", "0.17..0.50", "1.00..2.00", "")
    assert len(row(cells)) < 100
    assert [duration(seconds) for seconds in (2, 1e-4, 3.14159e-9)] == ["2 s", "100 us", "3.14 ns"]


def test_run_writes_all_figures(tmp_path):
    figures = tmp_path / "figures.json"
    argv = [
        "--quick",
        "--rounds",
        "2",
        "--table",
        "python",
        "--only",
        "pipe, ROUND",
        "--json",
        str(figures),
    ]
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", *argv], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "Pipe, round trip" in done.stdout
    assert "Queue" not in done.stdout
    recorded = json.loads(figures.read_text())
    assert recorded["rounds"] == 2
    (only,) = recorded["lines"]
    assert only["case"] == "Pipe, round trip"
    assert only["slower"] == (done.returncode == 1)
    assert [sorted(each) for each in only["rounds"]] == [["again", "ramet", "std"]] * 2


def test_an_unknown_case_is_an_error():
    code, out, err = run(BENCH / "run.py", "--table", "python", "--only", "nothing like it")
    assert (code, out) == (1, "")
    assert "Queue, round trip" in err


def test_the_figures_of_a_program_in_c():
    lines = ["ramet\t0\t10\t20\t30", "limit\t1.2\t20\t10\t20", "other\t0\tskipped"]
    (pair,), skipped = native.parse("case", lines)
    assert skipped == ["other"]
    assert (pair.ratios, pair.ratio, pair.missed) == ([0.5, 2.0, 1.5], 1.5, True)
    cells = pair.cells()
    assert cells == ("case", "20 ns", "limit", "20 ns", "1.5", "0.5..2", "1", "<= 1.2", "MISSED")
    assert len(native.row(cells)) < 140
    assert not dataclasses.replace(pair, most=0).missed
    assert not dataclasses.replace(pair, most=1.5).missed
