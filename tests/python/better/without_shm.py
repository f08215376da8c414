# SPDX-License-Identifier: MIT
"""Everything but `SharedMemory` works whatever the size of /dev/shm, and without it."""

from better import main

SIZE = 80_000_000  # more than the 64 MB that a container has


def child(handles):
    with handles["lock"]:
        handles["queue"].put(bytes(SIZE))
    handles["array"][SIZE - 1] = 7
    handles["event"].set()
    handles["pipe"].send([1, 2.5, "three"])


def program(mp):
    ours, theirs = mp.Pipe()
    handles = {
        "lock": mp.RLock(),
        "queue": mp.Queue(),
        "array": mp.Array("b", SIZE),
        "event": mp.Event(),
        "pipe": theirs,
    }
    process = mp.Process(target=child, args=(handles,))
    process.start()
    assert len(handles["queue"].get()) == SIZE
    assert ours.recv() == [1, 2.5, "three"]
    handles["event"].wait()
    process.join()
    assert handles["array"][SIZE - 1] == 7
    with mp.Pool(2) as pool:
        assert pool.map(len, [bytes(SIZE), b""]) == [SIZE, 0]
    with mp.Manager() as manager:
        assert list(manager.list([1, 2])) == [1, 2]


if __name__ == "__main__":
    main(program)
