# SPDX-License-Identifier: MIT
"""A coordinator hands tasks to workers over one queue and collects results from another.

    python examples/python/09_coordinator.py [fork|spawn|forkserver]

Each worker is stopped by an item of its own, behind the last task, so that all tasks are done.
"""

import sys

import ramet as mp

WORKERS = 3
TASKS = 12


def work(tasks, results):
    """Do tasks until None arrives, the sign that there are no more."""
    while (task := tasks.get()) is not None:
        results.put((task, task**3))


def main():
    tasks = mp.Queue()
    results = mp.Queue()
    workers = [mp.Process(target=work, args=(tasks, results)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()

    for task in range(TASKS):
        tasks.put(task)
    for _ in workers:
        tasks.put(None)

    # Collect before joining: with the standard library, a worker whose results nobody takes
    # cannot end.
    answers = dict(results.get() for _ in range(TASKS))
    for worker in workers:
        worker.join()

    for task in range(TASKS):
        print(f"{task} cubed is {answers[task]}")
    print(f"exit codes of the workers: {[worker.exitcode for worker in workers]}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mp.set_start_method(sys.argv[1])
    main()
