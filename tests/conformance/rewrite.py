# SPDX-License-Identifier: MIT
"""The import lines of CPython's tests, changed as a user would change them, and hardly more."""

import ast
import re

IMPORT = re.compile(
    r"(?P<kw>\bimport[ \t]+)multiprocessing"
    r"(?P<sub>(?:\.\w+)*)(?P<as>[ \t]+as[ \t]+\w+)?(?![\w.])"
)
FROM = re.compile(r"(\bfrom[ \t]+)multiprocessing\b(?=[\w.]*[ \t]+import\b)")
QUOTED = re.compile(r"""(?<![\w'"])(["'])multiprocessing(?=\1|\.)""")

# A test that loses a race against itself, with any package: it ends a pool of threads at once, and
# waits for a task of five minutes if a thread has taken one by then. Newer ones sleep
# for a second there, with that reason; this gives older ones the same.
SLEEP = "args = [support.LONG_TIMEOUT for i in range(10_000)]"
SHORT_SLEEP = 'args = [1 if self.TYPE == "threads" else support.LONG_TIMEOUT] * 10_000'


def rewrite(text, module):
    """Change the import lines, also of programs that stand in strings, and names of modules."""

    def imported(m):
        if m["as"]:
            return f"{m['kw']}{module}{m['sub']}{m['as']}"
        alias = f"{module} as multiprocessing"
        return m["kw"] + (f"{module}{m['sub']}, {alias}" if m["sub"] else alias)

    text = IMPORT.sub(imported, text)
    text = FROM.sub(rf"\g<1>{module}", text)
    text = QUOTED.sub(rf"\g<1>{module}", text)
    text = text.replace(SLEEP, SHORT_SLEEP)
    if module != "multiprocessing":
        # A package outside the standard library cannot be imported under -S.
        text = text.replace("'-E', '-S', '-O'", "'-E', '-O'")
    return text


def needed_at_import(text):
    """The submodules and names of `multiprocessing` that a test file touches as it is imported."""
    submodules, names = set(), set()

    def dotted(node):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id == "multiprocessing":
            return ".".join(reversed(parts))

    def visit(node):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for outer in getattr(node, "decorator_list", []):
                visit(outer)
            return
        if isinstance(node, ast.Import):
            submodules.update(
                a.name.partition(".")[2]
                for a in node.names
                if a.name.startswith("multiprocessing.")
            )
        elif isinstance(node, ast.ImportFrom) and node.module:
            head, _, sub = node.module.partition(".")
            if head == "multiprocessing" and not node.level:
                for a in node.names:
                    if sub:
                        submodules.add(sub)
                        names.add(f"{sub}.{a.name}")
                    else:
                        submodules.add(a.name)
        elif isinstance(node, ast.Attribute):
            name = dotted(node)
            if name:
                names.add(name)
                return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(text))
    return sorted(submodules - {""}), sorted(names)


HOOK = '''\
import sys
FILES = {files!r}


class Finder:
    """Serves the rewritten copies of a few modules of the `test` package."""
    @staticmethod
    def find_spec(name, path=None, target=None):
        file = FILES.get(name)
        if file:
            import _frozen_importlib_external as e
            where = None
            if file.endswith('__init__.py'):
                where = [file.rpartition('/')[0]]
            return e.spec_from_file_location(
                name, file, submodule_search_locations=where)


sys.meta_path.insert(0, Finder)
'''

DRIVER = """\
import unittest
from test._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), {method!r})

if __name__ == '__main__':
    unittest.main()
"""
