# SPDX-License-Identifier: MIT
"""Where the tests run: a throw-away virtual environment that serves the rewritten copies."""

import glob
import os
import shutil
import site
import sys
import sysconfig
import tempfile
import venv

from rewrite import DRIVER, HOOK, needed_at_import, rewrite

HERE = os.path.dirname(os.path.abspath(__file__))


class Bench:
    """A throw-away virtual environment holding the rewritten tests."""

    def __init__(self, module, paths, keep=False):
        self.module, self.keep = module, keep
        self.root = tempfile.mkdtemp(prefix="mpc")
        self.testdir = os.path.join(sysconfig.get_path("stdlib"), "test")
        self.python = self.make_env(paths)
        self.drivers = {}  # (suite, label) -> module name
        self.missing = []
        self.files = {}

    def make_env(self, paths):
        """Make the environment; its interpreter.  Every process of it imports the hook."""
        env = os.path.join(self.root, "env")
        venv.EnvBuilder(system_site_packages=True, symlinks=True).create(env)
        python = os.path.join(env, "bin", "python")
        lib = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.site = os.path.join(env, "lib", lib, "site-packages")
        lines = list(paths)
        if sys.prefix != sys.base_prefix:  # run from another environment
            lines += [f"import site; site.addsitedir({d!r})" for d in site.getsitepackages()]
        lines.append("import _mp_conformance_hook")
        with open(os.path.join(self.site, "mp_conformance.pth"), "w") as f:
            f.write("\n".join(lines) + "\n")
        shutil.copy(
            os.path.join(HERE, "shim.py"), os.path.join(self.site, "_mp_conformance_shim.py")
        )
        os.mkdir(os.path.join(self.root, "w"))
        self.worker = shutil.copy(os.path.join(HERE, "worker.py"), os.path.join(self.root, "w"))
        return python

    def add(self, name, text):
        """Serve `text` as module `name` in every process of the bench."""
        file = os.path.join(self.root, "t", *name.split(".")) + ".py"
        if name.endswith(".__init__"):
            name = name[: -len(".__init__")]
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
        self.files[name] = file

    def source(self, relative):
        """The text of a file of the interpreter's `test` package; None if it has none."""
        path = os.path.join(self.testdir, relative)
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as f:
            return f.read()

    def copy(self, relative, head="", tail=""):
        """Serve a rewritten copy of a file; the name of its module."""
        name = "test." + relative[: -len(".py")].replace("/", ".")
        text = rewrite(self.source(relative), self.module)
        self.add(name, head + text + tail)
        return name

    def shimmed(self, relative):
        """Serve a copy in whose module what the package lacks is filled in; see shim.py."""
        subs, names = needed_at_import(self.source(relative))
        head = (
            "import _mp_conformance_shim; _mp_conformance_shim.prepare("
            f"{self.module!r}, {subs!r}, {names!r}); "
        )
        first = self.source(relative).splitlines()[0]
        if first and not first.startswith(("#", "import", "from")):
            head += "\n"
        return self.copy(
            relative,
            head,
            "\nimport _mp_conformance_shim; "
            "_mp_conformance_shim.arm(globals(), "
            f"{self.module!r})\n",
        )

    def install(self, suites, methods):
        """Serve all that the suites need, and note the modules that hold their tests."""
        for helper in glob.glob(os.path.join(self.testdir, "mp_*.py")):
            self.copy(os.path.basename(helper))
        if self.source("_test_multiprocessing.py") is None:
            sys.exit(f"this interpreter has no test package in {self.testdir}")
        self.shimmed("_test_multiprocessing.py")
        for m in methods:
            name = f"test.test_multiprocessing_{m}"
            self.add(name, DRIVER.format(method=m))
            if "core" in suites:
                self.drivers["core", m] = name
        if "main" in suites:
            self.drivers["main", "main"] = self.shimmed("test_multiprocessing_main_handling.py")
        if "futures" in suites:
            if self.source("test_concurrent_futures.py"):
                self.drivers["futures", "futures"] = self.shimmed("test_concurrent_futures.py")
            elif self.source("test_concurrent_futures/__init__.py"):
                for f in glob.glob(os.path.join(self.testdir, "test_concurrent_futures", "*.py")):
                    self.copy(os.path.relpath(f, self.testdir))
                # load_tests() of the package wants a directory of test_*.py
                for name in sorted(self.files):
                    _, _, label = name.partition(".test_concurrent_futures.")
                    if label.startswith("test_"):
                        self.drivers["futures", label[5:]] = name
            else:
                self.missing.append("futures: not installed here")
        with open(os.path.join(self.site, "_mp_conformance_hook.py"), "w") as f:
            f.write(HOOK.format(files=self.files))

    def close(self):
        if self.keep:
            print("kept", self.root)
        else:
            shutil.rmtree(self.root, ignore_errors=True)
