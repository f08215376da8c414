"""The codec: messages give back what pickle gives back, and bad ones are errors.

Works on the extension's private functions. What they are compared with is pickle itself: the same
values, of the same types, with the same objects shared.
"""

import array
import collections
import copyreg
import enum
import errno
import functools
import gc
import importlib.util
import math
import operator
import os
import pickle
import random
import struct
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from multiprocessing import reduction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ramet import _ramet

LARGE = 4096  # from here on, data is a part of its own
ALIGN = 64
FLAT = 0x80  # first bytes from here on are not bare values
SEGMENTED, PICKLE, PICKLE_BUFFERS = 0x80, 0x81, 0x82

# No time limit: the tests may run on a busy machine. The same examples in every run.
settings.register_profile("ramet", deadline=None, database=None, derandomize=True)
settings.load_profile("ramet")


def round_trip(obj):
    return _ramet._decode(_ramet._encode(obj))


def by_pickle(obj):
    return pickle.loads(pickle.dumps(obj, 5))


def bits(value):
    return struct.pack("=d", value)


def assert_same(left, right):
    """Equal values of equal types, and an object shared on one side is shared on the other.

    A str or bytes may also be shared on the left where it is only equal on the right.
    """
    left_of, right_of, keep = {}, {}, []

    def walk(a, b):
        assert type(a) is type(b)
        if isinstance(a, float):
            assert bits(a) == bits(b)
            return
        if isinstance(a, int | None) or a is Ellipsis:
            assert a == b
            return
        seen = id(b) in right_of
        if not isinstance(a, str | bytes):
            assert left_of.setdefault(id(a), id(b)) == id(b)
        assert right_of.setdefault(id(b), id(a)) == id(a)
        if seen:
            return
        keep.append((a, b))
        if isinstance(a, list | tuple):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                walk(x, y)
        elif isinstance(a, dict):
            assert len(a) == len(b)
            for (k, x), (m, y) in zip(a.items(), b.items(), strict=True):
                walk(k, m)
                walk(x, y)
        else:
            assert a == b

    walk(left, right)


# --- values

INTS = [
    0,
    1,
    -1,
    *(
        sign * 2**n + d
        for n in (7, 8, 15, 16, 31, 32, 60, 63, 64, 500)
        for sign in (1, -1)
        for d in (-1, 0, 1)
    ),
]
STRINGS = [
    "",
    "a",
    "é",
    "Ā",
    "日",
    "😀",
    "ab",
    "éé",
    "日本",
    "😀😀",
    "\ud800",
    "a\udfff",
    "\0x",
    "x" * 254,
    "x" * 255,
    "é" * 300,
    "日" * 300,
    "😀" * 300,
    "x" * (LARGE - 1),
    "x" * LARGE,
    "é" * LARGE,
    "日" * LARGE,
    "😀" * LARGE,
]


@pytest.mark.parametrize("value", [None, True, False, *INTS, *STRINGS], ids=lambda v: repr(v)[:20])
def test_scalars(value):
    message = _ramet._encode(value)
    assert message[0] < FLAT or message[0] == SEGMENTED
    got = _ramet._decode(message)
    assert type(got) is type(value)
    assert got == value


@pytest.mark.parametrize("size", [0, 1, 2, 254, 255, 256, LARGE - 1, LARGE, LARGE + 1, 1 << 20])
def test_bytes(size):
    value = os.urandom(size)
    assert round_trip(value) == value
    assert round_trip([value, value[:3]]) == [value, value[:3]]


NANS = [0x7FF8000000000000, 0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x7FFFFFFFFFFFFFFF]


@pytest.mark.parametrize(
    "pattern", [0, 1 << 63, 1, 0x7FF0000000000000, 0xFFF0000000000000, 0x3FF8000000000000, *NANS]
)
def test_floats_keep_their_bits(pattern):
    raw = pattern.to_bytes(8, sys.byteorder)
    (value,) = struct.unpack("=d", raw)
    assert bits(round_trip(value)) == raw
    assert [bits(x) for x in round_trip([value] * 20)] == [raw] * 20
    assert [bits(x) for x in round_trip(("x", value))[1:]] == [raw]


@pytest.mark.parametrize(
    "value",
    [
        range(0),
        range(10),
        range(10, 0, -3),
        range(10**30, 10**31, 7),
        range(-(2**63), 2**63),
        [range(3), range(4)],
    ],
    ids=repr,
)
def test_ranges_stay_ranges(value):
    assert _ramet._encode(value)[0] < FLAT
    got = round_trip(value)
    assert got == value
    if isinstance(value, range):
        assert (got.start, got.stop, got.step) == (value.start, value.stop, value.step)


@pytest.mark.parametrize("bits_wide", [7, 8, 15, 16, 31, 32, 63])
@pytest.mark.parametrize("length", [7, 8, 9, 254, 255, 256, 1000])
def test_runs_of_ints(bits_wide, length):
    values = [(-1) ** i * ((1 << bits_wide) - 1 - i) for i in range(length)]
    for value in (values, tuple(values), [None, *values, "x", *values], [*values, 2**63, *values]):
        message = _ramet._encode(value)
        assert message[0] < FLAT
        assert len(message) < 30 + 18 * len(value)
        got = _ramet._decode(message)
        assert got == value
        assert {type(x) for x in got} == {type(x) for x in value}


def test_runs_stop_where_types_change():
    value = [*range(20), *map(float, range(20)), True, *range(20), *[False] * 10, *range(5), 0.5]
    got = round_trip(value)
    assert got == value
    assert list(map(type, got)) == list(map(type, value))


def test_runs_are_packed():
    assert len(_ramet._encode(list(range(100)))) < 110
    assert len(_ramet._encode([1.5] * 100)) < 820


class IntSub(int):
    pass


class StrSub(str):
    pass


class ListSub(list):
    pass


class DictSub(dict):
    pass


class TupleSub(tuple):
    __slots__ = ()


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "value",
    [
        IntSub(3),
        StrSub("abc"),
        ListSub([1, 2]),
        DictSub(a=1),
        TupleSub((1, 2)),
        Colour.RED,
        Level.LOW,
        Point(1, 2),
        {1, 2},
        frozenset("ab"),
        bytearray(b"x" * 10),
        bytearray(b"x" * 100_000),
        1j,
        ...,
        NotImplemented,
        collections.OrderedDict(a=1),
        slice(1, 2, 3),
        ValueError("x"),
        operator.itemgetter(1),
        len,
        IntSub,
    ],
    ids=lambda v: repr(v)[:20],
)
def test_everything_else_is_pickled(value):
    for wrapped in (value, [value], (1, value), {"a": value}, [[[value]], 1.5]):
        message = _ramet._encode(wrapped)
        assert message[0] == PICKLE
        got = _ramet._decode(message)
        expected = by_pickle(wrapped)
        assert type(got) is type(expected)
        assert repr(got) == repr(expected)


# --- identity

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=True),
    st.text(st.characters(), max_size=6),
    st.text("ab", min_size=2, max_size=3),
    st.binary(max_size=6),
    st.just(Ellipsis),
)
KEYS = st.one_of(st.integers(-3, 3), st.text(max_size=4), st.binary(max_size=3), st.none())
LIMITS = {"max_size": 12}


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, **LIMITS),
            st.lists(inner, **LIMITS).map(tuple),
            st.dictionaries(KEYS, inner, **LIMITS),
        ),
        max_leaves=40,
    )
)
@settings(max_examples=200)
def test_trees_as_with_pickle(obj):
    assert_same(round_trip(obj), by_pickle(obj))


@st.composite
def graphs(draw):
    """Objects made of objects made before, so that any of them may be shared, in cycles too."""
    nodes = draw(st.lists(SCALARS, min_size=1, max_size=6))
    for _ in range(draw(st.integers(1, 10))):
        inner = draw(st.lists(st.sampled_from(nodes), max_size=5))
        kind = draw(st.sampled_from(["list", "tuple", "dict"]))
        if kind == "dict":
            nodes.append({draw(KEYS): x for x in inner})
        else:
            nodes.append(inner if kind == "list" else tuple(inner))
    lists = [x for x in nodes if isinstance(x, list)]
    if lists and draw(st.booleans()):
        draw(st.sampled_from(lists)).append(nodes[-1])
    return nodes[-1]


@given(graphs())
@settings(max_examples=250)
def test_sharing_as_with_pickle(obj):
    assert_same(round_trip(obj), by_pickle(obj))


@pytest.mark.parametrize(
    "make",
    [
        lambda: "ab" * 3,
        lambda: "日本" * 2,
        lambda: "日",
        lambda: bytes([1, 2, 3]),
        lambda: "x" * LARGE + "y",
        lambda: bytes(LARGE + 5),
        lambda: [1],
        list,
        dict,
        lambda: (1, "ab"),
        lambda: {"a": [1]},
        lambda: range(1000),
    ],
)
def test_one_object_twice_stays_one(make):
    x, y = make(), make()
    for value in ([x, x], (x, [x]), {"p": x, "q": [y, x]}, [x] * 300):
        assert_same(round_trip(value), by_pickle(value))
    distinct = [make(), make()]
    assert_same(round_trip(distinct), by_pickle(distinct))


def test_many_shared_strings():
    words = [f"word {i}" for i in range(5000)]
    value = [words, list(reversed(words)), {w: w for w in words}]
    message = _ramet._encode(value)
    assert message[0] < FLAT
    assert_same(_ramet._decode(message), by_pickle(value))


def test_cycles_and_depth():
    loop = [1, 2]
    loop.append(loop)
    got = round_trip(loop)
    assert got[2] is got
    table = {}
    table["me"] = [table]
    got = round_trip(table)
    assert got["me"][0] is got
    deep = "bottom"
    for _ in range(200):
        deep = [deep]
    assert round_trip(deep) == deep
    shallow = "bottom"
    for _ in range(20):
        shallow = [shallow]
    assert _ramet._encode(shallow)[0] < FLAT


def test_keys_of_many_messages():
    for i in range(2000):  # more than are remembered, and again
        for key in (f"k{i % 700}", f"ké{i % 300}", f"a longer key {i}", "日本"):
            value = {key: key + "!", key * 2: [{key: i}], b"k": {"k" * (i % 40): 1}}
            assert_same(round_trip(value), by_pickle(value))


def test_memo_does_not_reach_into_the_next_message():
    shared = "some text"
    assert _ramet._encode([shared, shared]) == _ramet._encode([shared, shared])
    for _ in range(300):
        assert round_trip([shared, "other text"]) == [shared, "other text"]


# --- pickle


class Plain:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __eq__(self, other):
        return type(self) is type(other) and self.__dict__ == other.__dict__


class Refuses:
    def __reduce__(self):
        raise RuntimeError("not me")


class Buffered:
    """Pickles its data as a buffer; unpickles to what it was given in its place."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        assert protocol == 5
        return Buffered, (pickle.PickleBuffer(self.data),)


class Registered:
    pass


def test_objects():
    value = Plain(a=1, b=[Plain(), "x"], c=b"y" * 200_000, d="z" * 100_000)
    assert round_trip(value) == value
    shared = Plain(k=[])
    got = round_trip([shared, shared, shared.__dict__["k"]])
    assert got[0] is got[1]
    assert got[0].k is got[2]


@pytest.mark.parametrize("size", [0, 10, 16 << 10, 64 << 10, 100_000, 1 << 20])
def test_pickles_of_any_size(size):
    value = {frozenset([1]), "x" * size, *range(size // 100)}
    for _ in range(3):
        assert round_trip(value) == value
    assert round_trip([{1}, b"y" * size, bytearray(size)]) == [{1}, b"y" * size, bytearray(size)]


def test_forking_reducers_are_respected():
    assert isinstance(round_trip(Registered()), Registered)
    reduction.ForkingPickler.register(Registered, lambda obj: (Plain, (), {"by": "forking"}))
    try:
        assert round_trip([Registered()])[0].by == "forking"
        copyreg.pickle(Registered, lambda obj: (Plain, (), {"by": "copyreg"}))
        assert round_trip(Registered()).by == "forking"
        reduction.ForkingPickler.register(Registered, lambda obj: (Plain, (), {"by": "new"}))
        assert round_trip(Registered()).by == "new"
        del reduction.ForkingPickler._extra_reducers[Registered]
        assert round_trip(Registered()).by == "copyreg"
    finally:
        reduction.ForkingPickler._extra_reducers.pop(Registered, None)
        copyreg.dispatch_table.pop(Registered, None)
    assert isinstance(round_trip(Registered()), Registered)


def test_methods_and_partials_as_with_multiprocessing():
    plain = Plain(a=1)
    assert round_trip(plain.__eq__)(plain)
    assert round_trip(functools.partial(max, 3))(1) == 3


@pytest.mark.parametrize("before", [[], [os.urandom(LARGE)], [bytearray(LARGE)], [{1}] * 1000])
def test_errors_propagate_and_leave_nothing(before):
    bad = [*before, {"a": [Refuses()]}, "x" * LARGE]
    count = sys.getrefcount(bad[0])
    for value in (bad, (1, lambda: 0), [b"x" * LARGE, threading.Lock()]):
        with pytest.raises((RuntimeError, TypeError, AttributeError, pickle.PicklingError)):
            _ramet._encode(value)
        assert round_trip([1, {2}]) == [1, {2}]
    with pytest.raises(RuntimeError, match="not me"):
        _ramet._encode_many([1, "x" * LARGE, Refuses()])
    after = sys.getrefcount(bad[0])  # not inside the assert, which would hold one more
    assert after == count


def test_decoding_errors_propagate():
    message = _ramet._encode(Plain(a=1))
    assert pickle.loads(message[1:]) == Plain(a=1)
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        _ramet._decode(message[:-1])
    with pytest.raises(EOFError):
        _ramet._decode(message[:1])


# --- buffers


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1, 100_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_buffers_as_with_pickle(size, kind):
    value = Buffered(kind(os.urandom(size)))
    got = round_trip(value)
    expected = by_pickle(value)
    assert type(got.data) is type(expected.data)
    assert got.data == expected.data


def test_buffers_are_aligned_parts():
    values = [
        Buffered(bytearray(b"a" * 5000)),
        Buffered(b"b" * 4097),
        Buffered(bytearray(b"c" * 64)),
    ]
    parts, align, _refs = _ramet._encode_parts(values)
    assert align == ALIGN
    assert b"a" * 5000 in parts
    assert b"b" * 4097 in parts
    message = b"".join(parts)
    assert message[0] == PICKLE_BUFFERS
    assert message.index(b"a" * 5000) % ALIGN == 0
    assert message.index(b"b" * 4097) % ALIGN == 0

    seen = []

    def make(data, readonly):
        seen.append((data[:1], len(data), bool(readonly)))
        return bytearray(b"made") if data[:1] == b"a" else None

    got = _ramet._decode(message, make)
    assert seen == [(b"a", 5000, False), (b"b", 4097, True)]
    assert [x.data for x in got] == [b"made", b"b" * 4097, b"c" * 64]


def test_make_buffer_may_fail():
    def refuse(data, readonly):
        raise KeyError("no room")

    with pytest.raises(KeyError, match="no room"):
        _ramet._decode(_ramet._encode(Buffered(bytearray(LARGE))), refuse)


def test_buffer_stays_while_encoded_and_is_released():
    data = bytearray(LARGE)
    _ramet._encode(Buffered(data))
    data.append(1)  # BufferError if an export were left
    view = memoryview(array.array("d", range(1000)))
    assert bytes(round_trip(Buffered(view)).data) == view.tobytes()
    with pytest.raises((BufferError, pickle.PicklingError)):
        _ramet._encode(Buffered(view[::2]))
    fortran = memoryview(bytes(range(200)) * 30).cast("B", (60, 100))
    assert bytes(round_trip(Buffered(fortran)).data) == fortran.tobytes()


def test_large_parts_are_not_copied_into_the_stream():
    text, data = "t" * 5000, b"d" * 6000
    parts, align, _refs = _ramet._encode_parts({"a": text, "b": [data, 1], "c": text})
    assert align == ALIGN
    assert {text.encode(), data} <= set(parts)
    message = b"".join(parts)
    assert message[0] == SEGMENTED
    assert message.index(data) % ALIGN == 0
    assert len(message) < len(text) + len(data) + 3 * ALIGN + 40


def test_small_messages_have_one_part():
    for value in (None, [1, "x", {}], {1, 2}):
        parts, align, _refs = _ramet._encode_parts(value)
        assert (len(parts), align) == (1, 1)


# --- references and nesting


class Mentions:
    """What an arena object does when it is pickled."""

    def __init__(self, *offsets, then=None):
        self.offsets = offsets
        self.then = then

    def __reduce__(self):
        for offset in self.offsets:
            assert _ramet._add_ref(offset) == 0
        if self.then:
            self.then()
        return Plain, ()


def test_references():
    assert _ramet._add_ref(1) == 1
    assert _ramet._encode_parts([Mentions(7), "x", Mentions(2**64 - 1, 8)])[2] == (7, 2**64 - 1, 8)
    assert _ramet._encode_parts(5)[2] == ()
    assert _ramet._encode_parts({1})[2] == ()
    assert _ramet._add_ref(1) == 1


def test_encode_inside_encode():
    inner = []

    def nested():
        inner.append(_ramet._encode_parts([Mentions(100), {2}, "y" * LARGE])[2])

    outer = _ramet._encode_parts([Mentions(1, then=nested), {1}, Mentions(2), "x" * LARGE])
    assert inner == [(100,)]
    assert outer[2] == (1, 2)
    got = _ramet._decode(b"".join(outer[0]))
    assert got[1:] == [{1}, Plain(), "x" * LARGE]


def test_deep_nesting_of_encodes():
    def nested(depth):
        if depth:
            refs = _ramet._encode_parts(Mentions(depth, then=lambda: nested(depth - 1)))[2]
            assert refs == (depth,)

    nested(30)


def test_failed_inner_encode_leaves_the_outer():
    def nested():
        with pytest.raises(RuntimeError):
            _ramet._encode([Mentions(5), Refuses()])

    assert _ramet._encode_parts([Mentions(1, then=nested), Mentions(2)])[2] == (1, 2)
    assert _ramet._add_ref(1) == 1


def test_threads_have_their_own_encode():
    failures = []

    def work(number):
        try:
            for i in range(100):
                other = []
                then = functools.partial(other.append, 1)
                value = [Mentions(number, then=then), {i}, f"{number} text" * 3, [number] * 20]
                parts, _align, refs = _ramet._encode_parts(value)
                assert refs == (number,)
                assert _ramet._decode(b"".join(parts))[1:] == value[1:]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- chunks and packs

CHUNKS = [
    [],
    [1],
    list(range(100)),
    [2**62, -5] * 10,
    [2**63],
    [1.5, -0.0, math.inf],
    [1, 2.0],
    [True, 1],
    ["a", "bb", None, (), [1, [2]], {"x": 1}],
    [{1}, 1, "x" * 5000, 2, b"y" * LARGE, {"k": b"z" * LARGE}, 3.5],
    [Buffered(bytearray(b"q" * 5000)), 1, Buffered(b"r" * 5001), Plain(a=1)],
]


def plain(item):
    return bytes(item.data) if isinstance(item, Buffered) else item


@pytest.mark.parametrize("items", CHUNKS, ids=lambda v: repr(v)[:30])
def test_chunks(items):
    chunk = _ramet._encode_many(items)
    got = _ramet._decode_many(chunk)
    assert [*map(plain, got)] == [*map(plain, items)]
    assert [*map(type, got)] == [*map(type, items)]
    for skip in range(len(items) + 1):
        assert [*map(plain, _ramet._decode_many(chunk, skip))] == [*map(plain, items[skip:])]
    with pytest.raises(ValueError):
        _ramet._decode_many(chunk, len(items) + 1)


@pytest.mark.parametrize("items", CHUNKS, ids=lambda v: repr(v)[:30])
def test_packs(items):
    pack, used, marks = bytearray(100_000), 0, []
    for item in items:
        marks.append(used)
        used = _ramet._pack_append(pack, used, item)
    marks.append(used)
    for count, mark in enumerate(marks):  # whatever is complete can be read, whatever follows it
        got = _ramet._pack_read(bytes(pack[:mark]))
        assert [*map(plain, got)] == [*map(plain, items[:count])]
        assert [*map(plain, _ramet._pack_read(pack[:used], count))] == [*map(plain, items[count:])]
    room = bytearray(used)
    for mark, item in zip(marks, items, strict=False):
        _ramet._pack_append(room, mark, item)
    assert _ramet._pack_read(room) is not None
    assert room == pack[:used]
    if items:
        with pytest.raises(OSError, match="pack"):
            _ramet._pack_append(bytearray(used - 1), marks[-2], items[-1])


def test_large_parts_of_chunks_are_aligned():
    chunk = _ramet._encode_many([1, "x", b"a" * 5000, {"k": b"b" * 5000}, Buffered(b"c" * 5000)])
    for letter in b"abc":
        assert chunk.index(bytes([letter]) * 5000) % ALIGN == 0


def test_a_bad_item_does_not_hide_the_next():
    message = _ramet._encode("abcdef")
    pack = bytearray(1000)
    used = _ramet._pack_append(pack, 0, "abcdef")
    used = _ramet._pack_append(pack, used, [1, 2])
    at = pack.index(message)
    pack[at] = 0x7F
    got = _ramet._pack_read(bytes(pack[:used]))
    assert isinstance(got[0], ValueError)
    assert got[1:] == [[1, 2]]


# --- malformed messages

DIRECT = [
    None,
    2**100,
    1.5,
    "é" * 20,
    b"abc",
    [1, "x", ("ab", b"cd"), {"k": [1.5] * 10}],
    list(range(50)),
    {i: str(i) * 3 for i in range(30)},
    range(5),
    ["word"] * 5,
    ["x" * 5000, b"y" * 5000, "日" * 5000],
]


def try_decode(message, decode=_ramet._decode):
    """Decodes; no message without a pickle in it may do more than raise these."""
    try:
        return decode(bytes(message))
    except (ValueError, EOFError, OverflowError):
        return None


@pytest.mark.parametrize("value", DIRECT, ids=lambda v: repr(v)[:20])
def test_truncated_messages(value):
    message = _ramet._encode(value)
    cuts = sorted({*range(min(200, len(message))), *range(0, len(message), 97)})
    for cut in cuts:
        with pytest.raises((ValueError, EOFError)):
            _ramet._decode(message[:cut])
    with pytest.raises((ValueError, EOFError)):
        _ramet._decode(message + b"\0")


@pytest.mark.parametrize("value", DIRECT, ids=lambda v: repr(v)[:20])
def test_flipped_bytes(value):
    message = bytearray(_ramet._encode(value))
    for at in range(min(len(message), 120)):
        kept = message[at]
        for new in {*range(0x42), 0x7F, SEGMENTED, 0x83, 0xFE, 0xFF, kept ^ 1, kept ^ 0x80}:
            if at or new not in (PICKLE, PICKLE_BUFFERS):
                message[at] = new
                try_decode(message)
        message[at] = kept
    assert_same(_ramet._decode(bytes(message)), by_pickle(value))


def test_noise():
    rng = random.Random(1)
    for _ in range(20_000):
        message = rng.randbytes(rng.randrange(60))
        if not message or message[0] not in (PICKLE, PICKLE_BUFFERS):
            try_decode(message)
        try_decode(b"\x80" + bytes(7) + message)


def test_noise_of_tags():
    rng = random.Random(2)
    tags = [*range(1, 28), *range(0x4A, 0x52), 255]
    for _ in range(20_000):
        message = rng.choices(tags, k=rng.randrange(40))
        try_decode(message)
        try_decode([19, 3, *message])


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=40))
@settings(max_examples=200)
def test_noise_in_buffer_trailers(count, size, body):
    # The pickle itself is None, so that only our own numbers can be wrong.
    message = bytes([PICKLE_BUFFERS]) + pickle.dumps(None, 5) + body
    try:
        _ramet._decode(message + struct.pack("=QQ", count, size))
    except (ValueError, EOFError, pickle.UnpicklingError):
        pass


@pytest.mark.parametrize("items", CHUNKS[:9], ids=lambda v: repr(v)[:30])
def test_noise_in_chunks(items):
    rng = random.Random(3)
    whole = _ramet._encode_many(items)
    for _ in range(2000):
        chunk = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            # None of these is the first byte of a pickle, which could do anything.
            chunk[rng.randrange(min(len(chunk), 25))] = rng.choice([*range(10), 63, 64, 127, 255])
        try_decode(chunk, _ramet._decode_many)
        try_decode(chunk[16:], _ramet._pack_read)
        try_decode(chunk[: rng.randrange(len(chunk) + 1)], _ramet._decode_many)


def test_a_claimed_size_allocates_nothing():
    huge = struct.pack("=BQ", 255, 2**40)
    for tag in (8, 10, 11, 12, 13, 14, 18, 19, 20, 22):
        with pytest.raises((ValueError, EOFError)):
            _ramet._decode(bytes([tag]) + huge)
        with pytest.raises((ValueError, EOFError)):
            _ramet._decode(bytes([19, 1, tag]) + huge)


# --- leaks


def cycle_of_everything():
    value = {"a": [1, "xy", b"zz"], "b": "x" * 5000, "t": ("xy", 1.5, range(3))}
    assert round_trip(value) == value
    assert round_trip([Plain(a=value), Buffered(bytearray(5000))])[0].a == value
    _ramet._decode_many(_ramet._encode_many([value, {1}, "s" * 5000]))
    for bad in ([Refuses()], ["x" * 5000, Refuses()]):
        with pytest.raises(RuntimeError):
            _ramet._encode(bad)
    for message in (b"\x13\x03\x04\x01", b"\x14\x02\x04\x01\x04\x01\x04\x01\x04\x01"):
        with pytest.raises((ValueError, EOFError)):
            _ramet._decode(message)


def test_no_objects_are_left():
    # Caches of the interpreter and of pytest may take some hundred blocks; a leak takes 2000.
    rounds = 2000
    for _ in range(50):
        cycle_of_everything()
    gc.collect()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    for _ in range(rounds):
        cycle_of_everything()
    gc.collect()
    assert len(gc.get_objects()) - objects < rounds // 2
    assert sys.getallocatedblocks() - blocks < rounds // 2


def test_reference_counts_come_back():
    text, data, key, marker = "t" * 5000, bytes(5000), "a key", object()
    values = [{key: text, "d": [data]}, [text, {1}, data], Plain(k=key, m=[text])]
    counts = [sys.getrefcount(x) for x in (text, data, key, None, marker)]
    for _ in range(50):
        for value in values:
            _ramet._encode_parts(value)
            round_trip(value)
    after = [sys.getrefcount(x) for x in (text, data, key, None, marker)]
    assert after[:3] == counts[:3]
    assert abs(after[3] - counts[3]) < 20


def test_pickler_does_not_keep_what_it_pickled():
    value = Plain(a=1)
    finalised = []

    class Watched(Plain):
        def __reduce__(self):
            return Plain, ()

        def __del__(self):
            finalised.append(1)

    _ramet._encode([value, Watched()])
    gc.collect()
    assert finalised == [1]


# --- no memory, no module

SCARCE = [
    [1, 2, "abc", 2**100, range(3)],
    {f"k{i}": i for i in range(300)},
    (lambda words: [words, words[:], set(words)])([f"w{i}" for i in range(100)]),
    (lambda words: [*words, *words])([f"w{i}" for i in range(300)]),
    list(range(1000)),
    ["x" * 5000, b"y" * 6000, {"z": "é" * 5000}],
    Plain(a=Buffered(bytearray(5000)), b="x" * 70_000),
]


@pytest.mark.parametrize("value", SCARCE, ids=lambda v: repr(v)[:30])
def test_no_memory(value):
    hooks = pytest.importorskip("_testcapi")
    message, chunk = _ramet._encode(value), _ramet._encode_many([1, value, 3])
    for operation, argument in (
        (_ramet._encode, value),
        (_ramet._decode, message),
        (_ramet._encode_many, [1, value, 3]),
        (_ramet._decode_many, chunk),
    ):
        refused = 0
        for nth in range(60):
            hooks.set_nomemory(nth, nth + 1)
            try:
                operation(argument)
            except MemoryError:
                refused += 1
            finally:
                hooks.remove_mem_hooks()
            operation(argument)
        assert refused > 0


def test_each_module_object_has_its_own_state():
    def load():
        spec = importlib.util.spec_from_file_location(_ramet.__name__, _ramet.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module is not _ramet
        assert module._decode(module._encode([{1}, {"key": 2}])) == [{1}, {"key": 2}]
        return weakref.ref(module), weakref.ref(module.PickleSink)

    for _ in range(3):
        refs = load()
        gc.collect()
        assert [ref() for ref in refs] == [None, None]
    assert round_trip([{1}]) == [{1}]


def test_subinterpreters():
    script = """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        from ramet import _ramet

        value = [{1}, {"key": "x" * 5000}, 3]
        message = _ramet._encode(value)
        for _ in range(3):
            inner = interpreters.create()
            interpreters.run_string(inner, f'''if True:
                from ramet import _ramet
                value = {value!r}
                assert _ramet._encode(value) == {message!r}
                assert _ramet._decode({message!r}) == value
                print("passed", flush=True)
            ''')
            interpreters.destroy(inner)
        assert _ramet._decode(message) == value
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["passed"] * 3), done.stderr


# --- what the module offers the other types


def test_deadlines():
    assert _ramet._deadline(None) == 2**63 - 1
    assert _ramet._deadline(0) == 0
    assert _ramet._deadline(-5) == 0
    assert _ramet._deadline(-math.inf) == 0
    assert _ramet._deadline(math.inf) == 2**63 - 1
    assert _ramet._deadline(1e300) == 2**63 - 1
    for timeout in (1, 0.5, 1e-12, True, 10**9):
        before = time.monotonic_ns()
        deadline = _ramet._deadline(timeout)
        after = time.monotonic_ns()
        assert before < deadline
        assert before + timeout * 10**9 - 1000 <= deadline <= after + timeout * 10**9 + 1000
    for bad in ("1", b"1", [], object()):
        with pytest.raises(TypeError):
            _ramet._deadline(bad)
    with pytest.raises(ValueError):
        _ramet._deadline(math.nan)


def test_errors():
    for code, kind in [
        (errno.ENOMEM, MemoryError),
        (errno.EINVAL, ValueError),
        (errno.ETIMEDOUT, TimeoutError),
        (errno.EINTR, InterruptedError),
        (errno.EPERM, PermissionError),
        (errno.EOWNERDEAD, OSError),
    ]:
        with pytest.raises(kind) as caught:
            _ramet._error(-code, "open the thing")
        assert type(caught.value) is kind
        if issubclass(kind, OSError):
            assert caught.value.errno == code
            assert "open the thing" in str(caught.value)
        with pytest.raises(kind):
            _ramet._error(-code)
