# SPDX-License-Identifier: MIT
"""Locks, queues, events, ends of pipes and values go through queues, pipes and pools."""

from better import main


def use(handles):
    with handles["lock"]:
        handles["value"].value += 1
    with handles["condition"]:
        handles["array"][1] += 1
    handles["semaphore"].release()
    handles["event"].set()
    handles["queue"].put("through a queue that was sent")
    handles["pipe"].send("through a pipe that was sent")
    return handles["lock"]


def use_what_comes(source):
    use(source.recv() if hasattr(source, "recv") else source.get())


def check(mp, ways_in):
    ours, theirs = mp.Pipe()
    handles = {
        "lock": mp.Lock(),
        "condition": mp.Condition(),
        "semaphore": mp.Semaphore(0),
        "event": mp.Event(),
        "queue": mp.Queue(),
        "pipe": theirs,
        "value": mp.Value("i", 6),
        "array": mp.Array("i", [5, 6]),
    }
    ways_in(handles)
    handles["semaphore"].acquire()
    handles["event"].wait()
    assert handles["queue"].get() == "through a queue that was sent"
    assert ours.recv() == "through a pipe that was sent"
    assert handles["value"].value == handles["array"][1] == 7


def program(mp):
    queue, (ours, theirs) = mp.Queue(), mp.Pipe()
    for source, send in ((queue, queue.put), (theirs, ours.send)):
        process = mp.Process(target=use_what_comes, args=(source,))
        process.start()
        check(mp, send)
        process.join()
        assert process.exitcode == 0
    with mp.Pool(1) as pool:
        check(mp, lambda handles: pool.apply(use, (handles,)))
        check(mp, lambda handles: pool.map(use, [handles]))
        check(mp, lambda handles: list(pool.imap(use, [handles])))


if __name__ == "__main__":
    main(program)
