# SPDX-License-Identifier: MIT
"""How processes end together: parents, daemonic children, the fork server, and what runs at exit.

Each test is a program in an interpreter of its own, since it ends one, kills one, or looks at what
is there when a program starts. A program prints the pids of the processes that it has made.
"""

import os
import signal
import textwrap
import time

import pytest
from family import Family, run

HEAD = """\
import atexit, contextlib, os, signal, sys, threading, time
import multiprocessing, multiprocessing.util
import ramet as mp

context = mp.get_context(sys.argv[1])

def sleep():
    os.write(1, b"%d\\n" % os.getpid())  # in one piece, whoever else writes
    while True:
        time.sleep(1000)

def nothing():
    pass
"""


@pytest.fixture
def write(tmp_path):
    """Make a program of functions and of what stands under its main guard."""

    def write_program(functions, main):
        program = tmp_path / "program.py"
        guarded = textwrap.indent(textwrap.dedent(main), "    ")
        text = f'{HEAD}\n{textwrap.dedent(functions)}\nif __name__ == "__main__":\n{guarded}'
        program.write_text(text)
        return program

    return write_program


def alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# -------------------------------------------------------------- a parent that ends or is killed


def test_daemonic_child_ends_with_its_parent(method, write):
    program = write("", "context.Process(target=sleep, daemon=True).start(); time.sleep(0.3)")
    code, _, err = run(program, method)  # and until everybody is gone
    assert (code, err) == (0, "")


@pytest.mark.parametrize("thread", [False, True], ids=["first thread", "other thread"])
def test_daemonic_child_ends_with_a_parent_that_is_killed(method, thread, write):
    main = """\
        def start():
            context.Process(target=sleep, daemon=True).start()
        thread = threading.Thread(target=start)
        thread.start() if {thread} else start()
        while thread.is_alive():
            time.sleep(0.01)
        sleep()
        """
    with Family(write("", main.format(thread=thread)), method) as family:
        pids = {int(family.process.stdout.readline()) for _ in range(2)}
        time.sleep(0.1)  # the thread that made the child has ended, which is not the parent's end
        assert all(alive(pid) for pid in pids)
        os.kill(family.process.pid, signal.SIGKILL)
        family.assert_gone()


def test_daemonic_child_that_ignores_signals_ends_with_its_parent(method, write):
    functions = """\
        def deaf():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            sleep()
        """
    main = "context.Process(target=deaf, daemon=True).start(); sleep()"
    with Family(write(functions, main), method) as family:
        for _ in range(2):
            family.process.stdout.readline()
        os.kill(family.process.pid, signal.SIGKILL)
        family.assert_gone()


def test_other_child_outlives_a_parent_that_is_killed(method, write):
    functions = """\
        def child():
            parent = mp.parent_process()
            assert parent.is_alive()
            print(os.getpid(), flush=True)
            parent.join()
            assert not parent.is_alive()
            # And can still make processes itself.
            process = context.Process(target=nothing)
            process.start()
            process.join()
            print("grandchild", process.exitcode, flush=True)
        """
    main = "context.Process(target=child).start(); time.sleep(1000)"
    with Family(write(functions, main), method) as family:
        assert alive(int(family.process.stdout.readline()))
        os.kill(family.process.pid, signal.SIGKILL)
        assert family.process.stdout.readline() == "grandchild 0\n"
        family.assert_gone()


def test_program_waits_for_its_children_at_exit(method, write):
    functions = """\
        def child():
            time.sleep(0.2)
            print("the child is done", flush=True)
        """
    code, out, err = run(write(functions, "context.Process(target=child).start()"), method)
    assert (code, out, err) == (0, "the child is done\n", "")


# ------------------------------------------------------------------------------ what runs at exit


def exit_program(package):
    """What is registered in the parent and in the child, and what of it runs, by name."""
    functions = f"""\
        import {package}, {package}.util
        def say(word):
            print(word, os.getpid() == parent, flush=True)

        def child(pid):
            global parent
            parent = pid
            atexit.register(say, "atexit of the child")
            {package}.util.Finalize(None, say, ("finalizer of the child",), exitpriority=1)
            first = threading.main_thread()
            threading.Thread(target=lambda: (first.join(), say("thread of the child"))).start()
        """
    main = f"""\
        parent = os.getpid()
        atexit.register(say, "atexit of the parent")
        {package}.util.Finalize(None, say, ("finalizer of the parent",), exitpriority=1)
        process = {package}.get_context(sys.argv[1]).Process(target=child, args=(parent,))
        process.start()
        process.join()
        print(process.exitcode)
        """
    return functions, main


def test_exit_functions_run_where_the_standard_library_runs_them(method, write):
    outcomes = [
        run(write(*exit_program(package)), method) for package in ("multiprocessing", "ramet")
    ]
    assert outcomes[0] == outcomes[1]
    assert "finalizer of the child False" in outcomes[1][1]


@pytest.mark.parametrize("kept", ["os.kept = {}", "os.kept = []; os.kept += [{}, os.kept]"])
def test_file_that_only_a_library_module_refers_to_is_flushed(write, tmp_path, kept):
    """As at any exit of an interpreter, though a child sets the library's modules apart."""
    file = tmp_path / "kept"
    functions = f"""
def child():
    file = open({str(file)!r}, "w")
    file.write("kept")
    {kept.format("file")}
"""
    main = "process = context.Process(target=child); process.start(); process.join()"
    assert run(write(functions, main), "spawn") == (0, "", "")
    assert file.read_text() == "kept"


@pytest.mark.parametrize("finalizer", [False, True])
def test_library_is_torn_down_where_the_program_has_a_finalizer(write, finalizer):
    functions = f"""
import gc
from ramet import spawn

class Finalized:
    def __del__(self):
        pass

def child():
    if {finalizer}:
        os.kept = Finalized()
    atexit.unregister(spawn._thaw)
    atexit.register(look)

def look():
    frozen = gc.get_freeze_count()
    spawn._thaw(set(sys.modules))
    print(frozen > 1000, gc.get_freeze_count() == (0 if {finalizer} else frozen))
"""
    main = "process = context.Process(target=child); process.start(); process.join()"
    assert run(write(functions, main), "spawn") == (0, "True True\n", "")


KEPT = {  # what is to be seen at the end of a process that has it somewhere
    "database": """
def keep(name):
    import sqlite3
    database = sqlite3.connect(f"{FOLDER}/{name}")
    database.execute("PRAGMA journal_mode=WAL")  # whose file goes when it is closed
    database.execute("CREATE TABLE t(a)")
    return database
""",
    "class that hides": """
class Hiding(type):
    def __getattribute__(cls, name):
        raise AttributeError(name)
class Kept(metaclass=Hiding):
    pass
def keep(name):
    return type.__call__(Kept)
""",
}


@pytest.mark.parametrize("package", ["multiprocessing", "ramet"])
@pytest.mark.parametrize("what", KEPT)
def test_what_library_modules_refer_to_is_freed(write, tmp_path, what, package):
    """As in the standard library, also where it has no finalizer that the collector could see."""
    functions = f"""
FOLDER = {str(tmp_path)!r}
{KEPT[what]}
def child():
    for name in ("abc", "copyreg", "enum", "fnmatch", "pickle", "reprlib", "socket", "tempfile"):
        if name in sys.modules:
            sys.modules[name].kept = keep(name)
            print("kept", end=" ")
"""
    main = f"""
import {package}
process = {package}.get_context("spawn").Process(target=child)
process.start()
process.join()
print(process.exitcode)
"""
    code, out, err = run(write(functions, main), "spawn")
    assert (code, err, out[-2:]) == (0, "", "0\n")
    assert out.count("kept") > 2
    assert not list(tmp_path.glob("*-wal"))


# ------------------------------------------------------------------------- statuses that are lost


def test_children_that_nobody_can_wait_for(method, write):
    main = """\
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        processes = [context.Process(target=nothing) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert not process.is_alive()
            assert process.exitcode in (0, 255), process.exitcode
            process.close()
        """
    assert run(write("", main), method) == (0, "", "")


def test_child_that_somebody_else_waited_for(write):
    main = """\
        process = context.Process(target=nothing)
        process.start()
        os.waitpid(-1, 0)
        process.join()
        print(process.exitcode, process.is_alive())
        """
    assert run(write("", main), "fork") == (0, "255 False\n", "")


# ------------------------------------------------------------------- no helper that nobody wants


def test_no_resource_tracker(method, write):
    main = """\
        from multiprocessing import resource_tracker
        queue = context.Queue()
        queue.put(1)
        process = context.Process(target=queue.get)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert resource_tracker._resource_tracker._fd is None
        sleep()
        """
    with Family(write("", main), method) as family:
        family.process.stdout.readline()
        commands = family.members().values()
        assert not [command for command in commands if "import main;main(" in command]
        assert len(commands) == (2 if method == "forkserver" else 1)
        os.kill(family.process.pid, signal.SIGKILL)
        family.assert_gone()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_tracker_of_the_program_is_shared(method, write):
    functions = """\
        from multiprocessing.shared_memory import SharedMemory

        def child(connection):
            memory = SharedMemory(create=True, size=100)
            memory.buf[:4] = b"word"
            memory.close()
            connection.send(memory.name)
        """
    main = """\
        mine = SharedMemory(create=True, size=1)  # which starts the tracker
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(sender,))
        process.start()
        process.join()
        memory = SharedMemory(receiver.recv())
        print(bytes(memory.buf[:4]))
        memory.close()
        memory.unlink()
        mine.close()
        mine.unlink()
        """
    code, out, err = run(write(functions, main), method)
    assert (code, out, err) == (0, "b'word'\n", "")


# ------------------------------------------------------------------------------- the fork server


def test_server_that_was_killed_is_replaced(write):
    main = """\
        from ramet.forkserver import _forkserver
        pids = set()
        for _ in range(3):
            process = context.Process(target=nothing)
            process.start()
            process.join()
            assert process.exitcode == 0
            pids.add(_forkserver._forkserver_pid)
            os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
        print(len(pids))
        """
    assert run(write("", main), "forkserver") == (0, "3\n", "")


def test_child_outlives_its_server(write):
    functions = """\
        def child(connection):
            connection.send(os.getpid())
            connection.recv()
        """
    main = """\
        from ramet.forkserver import _forkserver
        ours, theirs = context.Pipe()
        process = context.Process(target=child, args=(theirs,))
        process.start()
        assert ours.recv() == process.pid
        os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
        os.waitpid(_forkserver._forkserver_pid, 0)
        process.join(0.1)
        assert process.is_alive() and process.exitcode is None
        ours.send(None)
        process.join()
        print(process.exitcode)
        """
    assert run(write(functions, main), "forkserver") == (0, "255\n", "")


def test_server_takes_no_notice_of_an_interrupt(write):
    main = """\
        from ramet.forkserver import ensure_running, _forkserver
        ensure_running()
        for _ in range(50):  # while it starts, and after
            os.kill(_forkserver._forkserver_pid, signal.SIGINT)
            time.sleep(0.005)
        before = _forkserver._forkserver_pid
        process = context.Process(target=nothing)
        process.start()
        process.join()
        print(process.exitcode, before == _forkserver._forkserver_pid)
        """
    assert run(write("", main), "forkserver") == (0, "0 True\n", "")


def test_child_can_be_interrupted(method, write):
    functions = """\
        def child(connection):
            with contextlib.suppress(KeyboardInterrupt):
                connection.send(None)
                time.sleep(1000)
            sys.exit(7)
        """
    main = """\
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(sender,))
        process.start()
        receiver.recv()
        os.kill(process.pid, signal.SIGINT)
        process.join()
        print(process.exitcode)
        """
    assert run(write(functions, main), method) == (0, "7\n", "")


def test_child_is_like_its_parent_is_now(method, write):
    """Not as the parent was when a server started."""
    functions = """\
        def look():
            umask = os.umask(0)
            os.umask(umask)
            mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return {
                "environ": dict(os.environ), "cwd": os.getcwd(), "umask": umask,
                "mask": mask, "argv": sys.argv, "cpus": os.sched_getaffinity(0),
                "path": sys.path, "out": os.readlink("/proc/self/fd/1"),
            }

        def child(connection):
            connection.send(look())
        """
    main = """\
        def compare():
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=child, args=(sender,))
            process.start()
            theirs, ours = receiver.recv(), look()
            process.join()
            for key in ours:
                assert ours[key] == theirs[key], (key, ours[key], theirs[key])

        compare()
        os.environ["NEW_ONE"] = "new"
        os.environ.pop("HOME", None)
        os.chdir("/")
        os.umask(0o77)
        sys.argv.append("more")
        sys.path.append("/nowhere")
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        file = os.open(os.environ["TARGET"], os.O_WRONLY | os.O_CREAT)
        before = os.dup(1)
        os.dup2(file, 1)
        compare()
        """
    program = write(functions, main)
    env = {"TARGET": str(program.with_suffix(".out"))}
    assert run(program, method, env=env) == (0, "", "")


def test_server_does_not_serve_who_would_get_another(write):
    main = """\
        import resource
        from ramet.forkserver import ensure_running, _forkserver
        pids = []
        for change in (
            lambda: None,
            lambda: None,
            lambda: os.environ.update(PYTHONWARNINGS="ignore"),
            lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        ):
            change()
            ensure_running()
            pids.append(_forkserver._forkserver_pid)
        assert pids[0] == pids[1]
        print(len(set(pids)))
        """
    code, out, err = run(write("", main), "forkserver")
    assert (code, err) == (0, "")
    assert int(out) in (2, 3)  # the limit may be 0 already


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_server_is_shared_by_the_whole_family(method, write):
    functions = """\
        server_context = mp.get_context("forkserver")

        def server_of(connection):
            connection.send(os.getppid())

        def child(connection):
            process = server_context.Process(target=server_of, args=(connection,))
            process.start()
            process.join()
        """
    main = """\
        receiver, sender = context.Pipe(duplex=False)
        for target in (server_of, child):
            starter = server_context if target is server_of else context
            process = starter.Process(target=target, args=(sender,))
            process.start()
            process.join()
        print(receiver.recv() == receiver.recv())
        """
    assert run(write(functions, main), method) == (0, "True\n", "")


def test_preloaded_modules_are_there(write, tmp_path):
    (tmp_path / "preloaded.py").write_text("import os\npid = os.getpid()\n")
    functions = """\
        def child():
            assert "preloaded" in sys.modules and "json.tool" in sys.modules
            print(sys.modules["preloaded"].pid == os.getppid())
        """
    main = """\
        mp.set_forkserver_preload(["preloaded", "is_not_there", "json.tool"])
        process = context.Process(target=child)
        process.start()
        process.join()
        """
    assert run(write(functions, main), "forkserver") == (0, "True\n", "")


def test_start_method_set_without_guard_is_forgiven_as_before(write):
    """A fork server has imported the main module before there is a method that is set."""
    functions = "mp.set_start_method('forkserver')\ndef child(): print('child')"
    main = "process = mp.Process(target=child); process.start(); process.join()"
    assert run(write(functions, main), "forkserver") == (0, "child\n", "")


@pytest.mark.parametrize("wait", ["", "process.join()"], ids=["at once", "in turn"])
def test_many_children_of_an_unguarded_main_complain_once(write, tmp_path, wait):
    program = tmp_path / "unguarded.py"
    for method in ("spawn", "forkserver"):
        program.write_text(
            f"{HEAD}\n"
            "processes = [context.Process(target=nothing) for _ in range(4)]\n"
            f"for process in processes: process.start(); {wait}\n"
            "for process in processes: process.join()\n"
            "sys.exit(str([process.exitcode for process in processes]))\n"
        )
        code, out, err = run(program, method)
        assert (code, out) == (1, "")
        assert err.count("RuntimeError") == err.count("if __name__ == '__main__':") == 1, err
        assert f"{program}, line 16, starts a process whenever" in err
        assert err.endswith("[1, 1, 1, 1]\n")


def test_package_next_to_the_program_is_found_by_its_children(method, write, tmp_path):
    """Wherever the parent has found modules, the child finds them too."""
    hidden = tmp_path / "elsewhere"
    hidden.mkdir()
    (hidden / "only_here.py").write_text("def child(): print('found')\n")
    functions = f"sys.path.insert(0, {str(hidden)!r})\nimport only_here"
    main = "process = context.Process(target=only_here.child); process.start(); process.join()"
    assert run(write(functions, main), method) == (0, "found\n", "")


def test_no_warning_about_threads_without_threads(method, write):
    """From 3.12 on, os.fork() warns where there are several threads: ours makes none."""
    main = "process = context.Process(target=nothing); process.start(); process.join()"
    assert run("-W", "error", write("", main), method) == (0, "", "")


def test_default_timeout_of_sockets_is_no_business_of_ours(method, write):
    """Neither a slow start nor a process object that takes long to send runs into it."""
    functions = """
        import socket

        class Slow:
            def __reduce__(self):
                return time.sleep, (0.2,)

        def child(slow, data):
            print(len(data))
        """
    main = """
        socket.setdefaulttimeout(0.001)
        process = context.Process(target=child, args=(Slow(), bytes(1 << 22)))
        process.start()
        process.join()
        """
    assert run(write(functions, main), method) == (0, "4194304\n", "")
