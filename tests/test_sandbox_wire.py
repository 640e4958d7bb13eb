"""Plain data between a sandbox and its supervisor: what goes in comes out, and what is forged is refused."""

import collections
import enum
import math
import struct
import time

import pytest

from copgkit_unit_tests.sandbox import Bounds, Opaque, PlainException, WireError
from copgkit_unit_tests.sandbox.inside.decoding import decode
from copgkit_unit_tests.sandbox.inside.encoding import encode

BOUNDS = Bounds()

PLAIN = [
    None,
    True,
    [0, -1, 255, 256, -(2**64), math.factorial(1000)],
    [0.1, -0.0, math.inf, 1e-320],
    2 - 3j,
    "naïve 🐍 \ud800 \0",
    b"\x00\xff",
    (1, [2, (3,)], {}),
    {"a": [1], 2: None, (3, 4): {5, 6}, b"k": frozenset([7])},
    [[], (), set(), frozenset(), "", b""],
    PlainException("ValueError", "no"),
]


def _there_and_back(value, bounds=BOUNDS):
    return decode(encode(value, bounds), bounds)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_data_arrives_as_it_was_sent(value):
    arrived = _there_and_back(value)
    assert (repr(arrived), type(arrived)) == (repr(value), type(value))


def test_minus_zero_and_not_a_number_survive():
    zero, nan = _there_and_back([-0.0, math.nan])
    assert math.copysign(1, zero) == -1
    assert math.isnan(nan)


class Liar(int):
    """Claims to be equal to anything, in every way it can."""

    def __eq__(self, other):
        return True

    def __index__(self):
        return 42

    def __hash__(self):
        return 0

    def to_bytes(self, *args, **kwargs):
        return b"\x2a"


class Colour(enum.IntEnum):
    RED = 1


class LyingList(list):
    def __iter__(self):
        return iter([42])


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Liar(7), 7),
        (Colour.RED, 1),
        (LyingList([1, 2]), [1, 2]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.namedtuple("Pair", "a b")(1, 2), (1, 2)),
        (type("Text", (str,), {"__str__": lambda self: "lie"})("truth"), "truth"),
    ],
)
def test_a_subclass_travels_as_the_base_it_is_made_of(value, base):
    arrived = _there_and_back(value)
    assert (arrived, type(arrived)) == (base, type(base))


def test_what_is_not_plain_arrives_as_a_thing_that_equals_nothing():
    thing = _there_and_back(object())
    assert isinstance(thing, Opaque)
    assert thing.type_name == "object"
    assert thing != thing
    assert thing not in [0, None, "object"]


def test_an_exception_arrives_as_its_nearest_built_in_class():
    class Mine(KeyError):
        pass

    assert _there_and_back(Mine("x")) == PlainException("KeyError", "'x'")


@pytest.mark.parametrize(
    "value",
    [
        "x" * 2000,
        [0] * 2000,
        1 << 20_000,
        [[[[[[[[0]]]]]]]],
    ],
    ids=["long", "many", "digits", "deep"],
)
def test_what_exceeds_the_bounds_is_refused_by_both_sides(value):
    small = Bounds(message_bytes=1000, depth=5, values=1000, integer_bytes=100)
    large = Bounds(depth=100, integer_bytes=10_000)
    with pytest.raises(WireError):
        encode(value, small)
    with pytest.raises(WireError):
        decode(encode(value, large), small)


def test_a_list_that_contains_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(WireError, match="deeper"):
        encode(loop, BOUNDS)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"?",
        b"NN",
        b"i\0\0\0\0",
        b"s\0\0\0\1\xff",
        b"s\xff\xff\xff\xffx",
        b"l\xff\xff\xff\xff",
        b"d\0\0\0\2NN",
        b"S\0\0\0\1l\0\0\0\0",
        b"d\0\0\0\2NTNF",
        b"f\0",
        b"EN",
        b"Os\0\0\0\1xs\0\0\0\2-1",
        b"c" + b"\0" * 15,
        b"cposix\nsystem\n(S'true'\ntR.",
    ],
)
def test_forged_bytes_are_refused(forged):
    with pytest.raises(WireError):
        decode(forged, BOUNDS)


def test_keys_made_to_collide_are_refused_before_they_take_quadratic_time():
    modulus = (1 << 61) - 1  # every multiple hashes to zero
    keys = b"".join(b"i" + struct.pack(">I", 12) + (n * modulus).to_bytes(12, "big") for n in range(1, 40_000))
    started = time.process_time()
    with pytest.raises(WireError, match="collide"):
        decode(b"S" + struct.pack(">I", 39_999) + keys, BOUNDS)
    assert time.process_time() - started < 2


def test_numbered_things_are_found_again_where_they_were_kept():
    kept = [object()]
    sent = encode([kept[0]], BOUNDS, lambda thing: Opaque("object", 1))
    assert decode(sent, BOUNDS, lambda opaque: kept[opaque.handle - 1])[0] is kept[0]
