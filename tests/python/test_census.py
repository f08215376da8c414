# SPDX-License-Identifier: MIT
"""The main job: examples/python/census.py, on small trees whose answer is known."""

import importlib.util
import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from family import EXAMPLES, WATCHDOG, run

CENSUS = EXAMPLES / "census.py"

BUSY = '''\
"""A module with a branch of its own."""

if True:
    import os


class Shape:
    def area(self, sides):
        total = 0
        for side in sides:
            if side > 0 and side < 9 or side == 12:
                total += side
        return total

    async def wait(self):
        def inner(values):
            return [value for value in values if value if value > 1]

        try:
            return 1 if self else 2
        except ValueError:
            while True:
                pass
        match self:
            case None:
                return 3
            case _:
                return 4
'''

BROKEN = "def f(:\n"
NOT_TEXT = b"name = '\xff'\n"
TIME = r" +\d+\.\d\d s +\d+\.\d\d times the speed of one process"


def load():
    """The program as a module, to look at its parts."""
    spec = importlib.util.spec_from_file_location("census", CENSUS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    """A small source tree with two good files, two bad ones and one of another kind."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "busy.py").write_text(BUSY)
    (tmp_path / "deep" / "er" / "plain.py").write_text("def nothing():\n    pass\n")
    (tmp_path / "deep" / "broken.py").write_text(BROKEN)
    (tmp_path / "deep" / "letters.py").write_bytes(NOT_TEXT)
    (tmp_path / "notes.txt").write_text("if if if")
    return tmp_path


def test_counts_one_file(tree):
    census = load()
    path = str(tree / "busy.py")
    file = census.count(path)
    assert (file.path, file.error, file.functions) == (path, None, 3)
    # for, if, `and`, `or`; two ifs of a comprehension; 1 if 2 else 3, except, while, two cases.
    assert file.top == (
        census.Function(5, 14, "Shape.wait", path, 15),
        census.Function(4, 6, "Shape.area", path, 8),
        census.Function(2, 2, "Shape.wait.inner", path, 16),
    )
    assert file.longest.name == "Shape.wait"
    assert file.branches == 5 + 4 + 2 + 1


def test_a_tree_deeper_than_the_interpreter_recurses(tmp_path):
    path = tmp_path / "deep.py"
    path.write_text("x = " + " + ".join(["1"] * 900) + "\n")
    census = load()
    limit = sys.getrecursionlimit()
    assert census.count(str(path)).error is None
    path.write_text("x = " + "(" * 4 * limit + "1" + ")" * 4 * limit + "\n")
    assert census.count(str(path)).error is not None


def test_takes_the_census_three_times(tree, method):
    code, out, err = run(CENSUS, "--start-method", method, "--processes", "2", tree)
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    assert lines[0] == "4 files, 2 workers"
    for line, way in zip(
        lines[1:], ("serially", "multiprocessing.Pool", "ramet.Pool"), strict=False
    ):
        assert re.fullmatch(re.escape(way) + TIME, line), line
    assert re.fullmatch(
        r"The three answers are equal\. ramet\.Pool took \d+\.\d\d of multiprocessing's time\.",
        lines[4],
    )
    assert lines[6:10] == [
        f"read from  {tree}",
        "files             4, of which 2 could not be parsed",
        "functions         4",
        "branches         12",
    ]
    assert lines[10] == "longest          14 lines: Shape.wait, busy.py:15"
    assert [line.split(maxsplit=2) for line in lines[12:17]] == [
        ["branches", "lines", "function"],
        ["5", "14", "Shape.wait, busy.py:15"],
        ["4", "6", "Shape.area, busy.py:8"],
        ["2", "2", "Shape.wait.inner, busy.py:16"],
        ["0", "2", "nothing, deep/er/plain.py:1"],
    ]
    assert lines[18] == "not parsed"
    assert lines[19].startswith("  deep/broken.py: SyntaxError: ")
    assert lines[20].startswith("  deep/letters.py: SyntaxError: ")
    assert len(lines) == 21


def test_the_same_file_twice_counts_once(tree):
    code, out, err = run(CENSUS, tree / "busy.py", tree / "busy.py", tree / "deep")
    assert (code, err) == (0, "")
    assert out.startswith("4 files, ")


def test_paths_without_source(tmp_path):
    code, _, err = run(CENSUS, tmp_path / "absent")
    assert (code, err) == (1, f"census.py: {tmp_path}/absent: no such file or directory\n")
    code, _, err = run(CENSUS, tmp_path)
    assert (code, err) == (1, "census.py: no .py files there\n")


def test_the_standard_library_is_the_default():
    files = load().standard_library()
    assert len(files) > 400
    assert any(path.endswith("/ast.py") for path in files)
    assert not any("site-packages" in path for path in files)


def test_another_answer_is_an_error(tree, monkeypatch):
    census = load()
    files = census.find([tree])
    monkeypatch.setattr(census, "in_pool", lambda *_: [census.File(path, None) for path in files])
    with pytest.raises(SystemExit, match="gave another answer"):
        census.take_census(files, None)


def on_a_terminal(*argv, env=None):
    """Run a program on a terminal of 80 columns; what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **(env or {})},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            break
    os.close(ours)
    assert process.wait(WATCHDOG) == 0
    return written.decode()


def test_progress_bar_on_a_terminal(tree):
    pytest.importorskip("tqdm")
    written = on_a_terminal(CENSUS, tree)
    for way in ("serially", "multiprocessing.Pool", "ramet.Pool"):
        assert f"{way}:   0%|" in written


def test_without_tqdm_no_progress_bar(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    (folder / "tqdm.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    written = on_a_terminal(CENSUS, tree, env={"PYTHONPATH": path})
    assert "0%" not in written
    assert "The three answers are equal." in written
