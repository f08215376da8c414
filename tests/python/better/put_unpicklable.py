# SPDX-License-Identifier: MIT
"""`put()` of something that cannot be pickled raises in the caller."""

import pickle

from better import main


def program(mp):
    queue = mp.Queue()
    try:
        queue.put(lambda: None)
    except (pickle.PicklingError, AttributeError):
        queue.put("what can be")
        assert queue.get() == "what can be"
        return
    raise AssertionError("put() said nothing")


if __name__ == "__main__":
    main(program)
