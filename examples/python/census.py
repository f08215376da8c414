# SPDX-License-Identifier: MIT
"""A census of Python source: functions, branches, and the functions that branch most.

    python examples/python/census.py [PATH...]

Reads every .py file under the paths given; without one, the running interpreter's own standard
library. The work is done three times on the same files (serially, with multiprocessing.Pool and
with ramet.Pool), the three answers must be equal, and the times are shown next to each other.
Files that are not valid Python are counted and named.
"""

import argparse
import ast
import heapq
import multiprocessing
import os
import pathlib
import sys
import sysconfig
import time
import warnings
from typing import NamedTuple

import ramet

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
)
TOP = 20
CHUNK = 8


class Function(NamedTuple):
    """One function, with the branches of its own body but not of functions inside it."""

    branches: int
    lines: int
    name: str
    path: str
    line: int

    def rank(self):
        """Most branches first, then in the order of files and lines."""
        return -self.branches, self.path, self.line


class File(NamedTuple):
    """What was counted in one file, or why it could not be."""

    path: str
    error: str | None
    functions: int = 0
    branches: int = 0
    longest: Function | None = None
    top: tuple[Function, ...] = ()


def branches_of(node):
    """How many ways to go on the node adds by itself."""
    if isinstance(node, BRANCHES):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return len(node.ifs)
    return 0


def functions_of(tree, path):
    """Every function of a syntax tree, and last the module itself with what is in no function."""
    found = []
    owners = [(tree, "")]
    while owners:
        owner, name = owners.pop()
        branches = 0
        # A stack in place of recursion: some real files nest deeper than the interpreter recurses.
        inside = [(child, name) for child in ast.iter_child_nodes(owner)]
        while inside:
            node, scope = inside.pop()
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                scope = f"{scope}.{node.name}" if scope else node.name
            if isinstance(node, FUNCTIONS):
                owners.append((node, scope))
                continue
            branches += branches_of(node)
            inside.extend((child, scope) for child in ast.iter_child_nodes(node))
        if owner is tree:
            module = Function(branches, 0, "", path, 0)
        else:
            lines = owner.end_lineno - owner.lineno + 1
            found.append(Function(branches, lines, name, path, owner.lineno))
    return [*found, module]


def count(path):
    """Count one file. This is what the workers do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(pathlib.Path(path).read_bytes(), path)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
        return File(path, f"{type(error).__name__}: {error}")
    *functions, module = functions_of(tree, path)
    return File(
        path,
        None,
        len(functions),
        module.branches + sum(function.branches for function in functions),
        min(functions, key=lambda each: (-each.lines, each.line), default=None),
        tuple(heapq.nsmallest(TOP, functions, key=Function.rank)),
    )


def standard_library():
    """The files of the running interpreter's own library, without the packages installed in it."""
    root = sysconfig.get_path("stdlib")
    installed = tuple(os.path.join(root, name, "") for name in ("site-packages", "dist-packages"))
    return [path for path in find([root]) if not path.startswith(installed)]


def find(paths):
    """All .py files at and under the paths, each once and in a fixed order."""
    found = set()
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            found.update(each for each in path.rglob("*.py") if each.is_file())
        elif path.is_file():
            found.add(path)
        else:
            raise SystemExit(f"census.py: {path}: no such file or directory")
    return sorted(map(str, found))


def in_pool(package, options, files):
    """The census by the pool of a package; both packages have the same interface."""
    context = package.get_context(options.start_method)
    with context.Pool(options.processes) as pool:
        yield from pool.imap(count, files, CHUNK)


def timed(label, results, total):
    """All results as a list, and the seconds it took to get them."""
    bar = tqdm is not None and sys.stderr.isatty()
    if bar:
        tqdm.monitor_interval = 0  # no thread beside the fork of the workers
        results = tqdm(results, desc=label, total=total, leave=False, unit="file")
    else:
        print(f"{label:22}", end="", flush=True)
    start = time.perf_counter()
    answer = list(results)
    seconds = time.perf_counter() - start
    if bar:  # it stood on this line, and has wiped it
        print(f"{label:22}", end="")
    return answer, seconds


def take_census(files, options):
    """Take it in each of the three ways; the answer, or the end if they do not agree."""
    ways = {
        "serially": map(count, files),
        "multiprocessing.Pool": in_pool(multiprocessing, options, files),
        "ramet.Pool": in_pool(ramet, options, files),
    }
    answers, seconds = {}, {}
    for label, results in ways.items():
        answers[label], seconds[label] = timed(label, results, len(files))
        speed = seconds["serially"] / seconds[label]
        print(f"{seconds[label]:8.2f} s {speed:8.2f} times the speed of one process", flush=True)

    expected = answers["serially"]
    for label, answer in answers.items():
        if answer != expected:
            different = [file.path for file in expected if file not in answer]
            raise SystemExit(f"census.py: {label} gave another answer: {different[:5]}")
    ratio = seconds["ramet.Pool"] / seconds["multiprocessing.Pool"]
    print(f"The three answers are equal. ramet.Pool took {ratio:.2f} of multiprocessing's time.")
    return expected


def report(answer):
    """Print the totals, the functions that branch most, and the files that could not be read."""
    root = os.path.commonpath([os.path.dirname(file.path) for file in answer])

    def place(path):
        return os.path.relpath(path, root)

    wrong = [file for file in answer if file.error is not None]
    longest = min(
        (file.longest for file in answer if file.longest),
        key=lambda each: (-each.lines, each.path, each.line),
        default=None,
    )
    print(f"\nread from  {root}")
    print(f"files      {len(answer):8}, of which {len(wrong)} could not be parsed")
    print(f"functions  {sum(file.functions for file in answer):8}")
    print(f"branches   {sum(file.branches for file in answer):8}")
    if longest:
        where = f"{place(longest.path)}:{longest.line}"
        print(f"longest    {longest.lines:8} lines: {longest.name}, {where}")

    top = heapq.nsmallest(TOP, (each for file in answer for each in file.top), key=Function.rank)
    print(f"\n{'branches':>8} {'lines':>6}  function")
    for each in top:
        print(f"{each.branches:8} {each.lines:6}  {each.name}, {place(each.path)}:{each.line}")

    if wrong:
        print("\nnot parsed")
        for file in wrong:
            print(f"  {place(file.path)}: {file.error}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", metavar="PATH", nargs="*", help="a .py file or a folder of them")
    parser.add_argument("--processes", type=int, help="how many workers (default: one a core)")
    parser.add_argument("--start-method", choices=multiprocessing.get_all_start_methods())
    return parser.parse_args()


def main():
    options = parse_arguments()
    files = find(options.paths) if options.paths else standard_library()
    if not files:
        raise SystemExit("census.py: no .py files there")
    print(f"{len(files)} files, {options.processes or os.cpu_count()} workers")
    report(take_census(files, options))


if __name__ == "__main__":
    main()
