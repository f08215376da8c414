# SPDX-License-Identifier: MIT
"""The stubs of public modules, beside the modules themselves: both have the same public names."""

import ast
import importlib
import pathlib

import pytest
import ramet

STUBS = sorted(
    path.stem
    for path in pathlib.Path(ramet.__file__).parent.glob("*.pyi")
    if path.stem not in ("_ramet", "__init__")
)


def declared(module):
    """The public names that the stub of the module declares."""
    path = pathlib.Path(module.__file__).with_suffix(".pyi")
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets}
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", ["ramet", *(f"ramet.{stem}" for stem in STUBS)])
def test_the_stub_and_the_module_have_the_same_names(name):
    module = importlib.import_module(name)
    names = declared(module)
    assert set(module.__all__) <= names
    assert not [each for each in names if not hasattr(module, each)]


def test_there_are_stubs():
    assert {"context", "pool", "queues"} <= set(STUBS)
