# SPDX-License-Identifier: MIT
"""Contexts: the names of the package, choosing a start method, the one registry of processes."""

import multiprocessing
import multiprocessing.context
import multiprocessing.process
import sys

import pytest
import ramet as mp
from family import run
from fixtures import START_METHODS


def outcome_of(tmp_path, text):
    """Run a program in a fresh interpreter; what it printed, having complained of nothing."""
    program = tmp_path / "program.py"
    program.write_text(text)
    code, out, err = run(program)
    assert (code, err) == (0, ""), out
    return out


def send_start_method(connection):
    connection.send((mp.get_start_method(), type(mp.current_process()).__name__))


def test_has_the_names_of_the_standard_library():
    assert set(multiprocessing.__all__) <= set(mp.__all__)
    for name in mp.__all__:
        assert hasattr(mp, name)


def test_everything_public_has_a_docstring():
    for name in ("Queue", "Pool", "Lock", "Value", "Process", "Pipe", "get_context"):
        assert getattr(mp, name).__doc__, name


def test_contexts_and_processes_are_the_standard_library_s(method):
    context = mp.get_context(method)
    assert isinstance(context, multiprocessing.context.BaseContext)
    assert type(context) is not type(multiprocessing.get_context(method))
    assert issubclass(context.Process, multiprocessing.process.BaseProcess)
    assert issubclass(mp.Process, multiprocessing.process.BaseProcess)


def test_context_is_one_per_method(method):
    context = mp.get_context(method)
    assert context is mp.get_context(method)
    assert context.get_context() is context
    assert context.get_start_method() == method
    assert method in mp.get_all_start_methods()


@pytest.mark.parametrize("wrong", ["nope", "", 3])
def test_unknown_method(wrong):
    with pytest.raises(ValueError, match="cannot find context for"):
        mp.get_context(wrong)
    with pytest.raises(ValueError, match="cannot find context for"):
        mp.set_start_method(wrong, force=True)


def test_a_concrete_context_keeps_its_method(method):
    for wanted in (*START_METHODS, None):
        with pytest.raises(ValueError, match="cannot set start method of concrete context"):
            mp.get_context(method).set_start_method(wanted)


def test_a_child_has_the_method_it_was_started_by(method):
    context = mp.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_start_method, args=(sender,))
    process.start()
    assert receiver.recv() == (method, context.Process.__name__)
    process.join()


def test_preload_wants_names():
    with pytest.raises(TypeError, match="module_names must be a list of strings"):
        mp.set_forkserver_preload([1])


def test_the_default_is_the_running_interpreter_s(tmp_path):
    text = """
import multiprocessing, ramet
assert ramet.get_start_method(allow_none=True) is None
print(ramet.get_start_method() == multiprocessing.get_start_method())
print(ramet.get_start_method(allow_none=True) == ramet.get_start_method())
"""
    assert outcome_of(tmp_path, text) == "True\nTrue\n"


def test_method_is_set_once_or_by_force(tmp_path, method):
    text = f"""
import ramet
ramet.set_start_method({method!r})
assert ramet.get_start_method() == {method!r}
try:
    ramet.set_start_method("spawn")
except RuntimeError as error:
    print(error)
ramet.set_start_method("fork", force=True)
assert ramet.get_start_method() == "fork"
ramet.set_start_method(None, force=True)
assert ramet.get_start_method(allow_none=True) is None
"""
    assert outcome_of(tmp_path, text) == "context has already been set\n"


def test_importing_the_package_is_cheap_and_has_no_side_effect(tmp_path):
    text = """
import sys, threading
import ramet, ramet.spawn, ramet.forkserver, multiprocessing
for name in ("queues", "synchronize", "sharedctypes", "pool", "managers"):
    assert f"ramet.{name}" not in sys.modules, name
    assert f"multiprocessing.{name}" not in sys.modules, name
assert threading.active_count() == 1
assert multiprocessing.get_start_method(allow_none=True) is None
"""
    assert outcome_of(tmp_path, text) == ""


def test_imports_where_there_is_no_executable(tmp_path):
    """As the standard library's module, which ours uses, and which could not before 3.11.3."""
    outcomes = []
    for modules in ("multiprocessing.spawn", "ramet, ramet.spawn, ramet.forkserver"):
        program = tmp_path / "program.py"
        program.write_text(f"import sys\nsys.executable = None\nimport {modules}\n")
        code, out, err = run(program)
        outcomes.append((code, out, err.splitlines()[-1:]))
    assert outcomes[1] in ((0, "", []), outcomes[0])


def test_leaves_the_standard_library_s_method_alone(tmp_path, method):
    text = f"""
import multiprocessing, ramet

def child():
    pass

if __name__ == "__main__":
    process = ramet.get_context({method!r}).Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert multiprocessing.get_start_method(allow_none=True) is None
    multiprocessing.set_start_method("spawn")
"""
    assert outcome_of(tmp_path, text) == ""


def test_one_registry_with_the_standard_library(method):
    ours = mp.get_context(method).Process(target=send_start_method, args=(None,))
    theirs = multiprocessing.get_context("fork").Process(target=int)
    assert mp.current_process() is multiprocessing.current_process()
    assert mp.parent_process() is multiprocessing.parent_process()
    # Names are numbered by one counter too.
    assert ours._identity[-1] + 1 == theirs._identity[-1]
    receiver, sender = mp.Pipe(duplex=False)
    ours = mp.get_context(method).Process(target=receiver.recv)
    ours.start()
    try:
        assert ours in mp.active_children()
        assert ours in multiprocessing.active_children()
    finally:
        sender.send(None)
        ours.join()
    assert ours not in multiprocessing.active_children()


def test_the_package_is_typed():
    root = sys.modules["ramet"].__path__[0]
    with open(f"{root}/py.typed"):
        pass
