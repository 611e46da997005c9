"""The codec: what goes in comes out, and what it cannot hold is named by its path."""

from __future__ import annotations

import math
from collections import OrderedDict, UserDict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.msgpack import Ext

from ctxqueue import codec
from ctxqueue.errors import NotSerializable, RecordTooNew
from ctxqueue.models import Address, ContextPriority, ContextScope
from ctxqueue.records import Stamp, decode_entry, decode_header, encode_meta, encode_record

zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=11)), None])
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=zones),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1), inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=15,
)


def kinds(value: Any) -> Any:
    """The types of all parts, for what == does not tell apart."""
    if isinstance(value, dict):
        return {key: (type(key), kinds(item)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (type(value), [kinds(item) for item in value])
    return type(value)


@given(values)
def test_round_trip(value: Any) -> None:
    packed = codec.pack(value)
    again = codec.unpack(packed)
    assert again == value
    assert kinds(again) == kinds(value)
    assert codec.pack(again) == packed


LARGE = [10**5_000, -(10**5_000), 2**64, 2**64 - 1, -(2**63), -(2**63) - 1]


@given(st.integers(-(10**60), 10**60) | st.sampled_from(LARGE))
def test_integers_of_any_size(number: int) -> None:
    assert codec.unpack(codec.pack(number)) == number


@given(st.sets(hashables, max_size=6))
def test_equal_sets_have_equal_bytes(items: set[Any]) -> None:
    assert codec.pack(items) == codec.pack(set(sorted(items, key=repr, reverse=True)))  # noqa: C414 - another order


number_types = hnp.scalar_dtypes().filter(lambda kind: kind.kind in "biuf")


@given(hnp.arrays(dtype=number_types, shape=hnp.array_shapes(min_side=0)))
def test_arrays(array: np.ndarray[Any, Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        with pytest.raises(NotSerializable, match="NaN or infinity"):
            codec.pack([array])
        return
    again = codec.unpack(codec.pack({"a": array}))["a"]
    if array.shape == ():
        assert again == array.item()
    else:
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        assert np.array_equal(again, array)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Point:
    x: int
    y: list[int] = field(default_factory=list)


class Pair(namedtuple("Pair", "a b")):  # noqa: PYI024 - an untyped one, as users have them
    __slots__ = ()


class Text(str):
    __slots__ = ()


class Own:
    def __init__(self, part: Any = 1) -> None:
        self.part = part

    def to_dict(self) -> dict[str, Any]:
        return {"part": self.part}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Colour.RED, "red"),
        (Level.LOW, 1),
        ({Colour.RED: Level.LOW}, {"red": 1}),
        (Point(1, [2]), {"x": 1, "y": [2]}),
        (Pair(1, 2), (1, 2)),
        (OrderedDict(a=1), {"a": 1}),
        ({Text("a"): Text("b")}, {"a": "b"}),
        (Own(Own()), {"part": {"part": 1}}),
        (bytearray(b"a"), b"a"),
        (memoryview(b"abcd")[::2], b"ac"),
        (np.int64(5), 5),
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.array(3), 3),
    ],
    ids=lambda part: type(part).__name__,  # a repr may have an address in it, another in each process
)
def test_what_loses_its_type_keeps_its_content(value: Any, stored: Any) -> None:
    again = codec.unpack(codec.pack(value))
    assert again == stored
    assert type(again) is type(stored)


BAD: list[tuple[Any, str]] = [
    ({"a": [1, {"b": math.nan}]}, r"value\['a'\]\[1\]\['b'\] is nan"),
    ({"hunter2": object()}, r"value\[\.\.\.\] is a builtins.object"),
    ((1, {2: math.inf}), r"value\[1\]\[2\] is inf"),
    (np.float64("nan"), "is nan"),
    (np.array([[1.0, math.nan]]), "an array with NaN"),
    (Decimal("sNaN"), "is sNaN"),
    (Decimal("-Infinity"), "is -Infinity"),
    (Point(object()), r"value<Point>\['x'\] is a builtins.object"),  # type: ignore[arg-type]
    (Own(object()), r"value<Own.to_dict\(\)>\['part'\] is a builtins.object"),
    (Point, "is the class Point itself"),
    (Own, "is the class .*Own itself"),
    (Colour, "is the class .*Colour itself"),
    (1j, "is a builtins.complex"),
    (deque([1]), "is a collections.deque"),
    (UserDict(a=1), "is a collections.UserDict"),
    (range(3), "is a builtins.range"),
    (timedelta(1), "is a datetime.timedelta"),
    ({(1, 2): 3}, "has a key of type tuple"),
    ({True: 1}, "has a key of type bool"),
    ({None: 1}, "has a key of type NoneType"),
    ({2**64: 1}, "has a key of type int"),
    ({b"a": 1}, "has a key of type bytes"),
    ({Colour.RED: 1, "red": 2}, "has keys that are stored alike"),
    ({(1, object())}, r"value\[0\]\[1\] is a builtins.object"),
    ("\ud800", "not valid Unicode"),
    ({"\udfff": 1}, "not valid Unicode"),
    (("\ud800",), "not valid Unicode"),
    (np.array([object()]), "no fixed form"),
    (np.zeros(2, dtype=[("a", "i4")]), "no fixed form"),
    (np.ma.masked_array([1, 2], mask=[False, True]), "no fixed form"),
]


@pytest.mark.parametrize(("value", "message"), BAD, ids=[message for _, message in BAD])
def test_what_it_cannot_hold_is_named_by_its_path(value: Any, message: str) -> None:
    with pytest.raises(NotSerializable, match=message):
        codec.pack(value)


def test_a_set_that_could_not_be_read_again_is_refused() -> None:
    @dataclass(frozen=True)
    class Unregistered:
        x: int

    for value in ({Unregistered(1)}, frozenset({(1, Unregistered(1))})):
        with pytest.raises(NotSerializable, match="no set could hold when read back: register their type"):
            codec.pack(value)


def test_depth_is_bounded_and_cycles_end() -> None:
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    assert codec.unpack(codec.pack(nested)) == nested
    wide: list[Any] = []
    wide += [wide, wide]
    for value in ([[nested]], wide, {"a": wide}):
        with pytest.raises(NotSerializable, match="nested deeper than 100 levels, or holds itself"):
            codec.pack(value)


def test_a_registered_type_comes_back_as_itself() -> None:
    @codec.register
    @dataclass
    class Money:
        amount: Decimal
        of: list[Point]

        def merge(self, other: Money) -> Money:
            return Money(self.amount + other.amount, self.of + other.of)

    money = Money(Decimal("1.10"), [])
    assert codec.unpack(codec.pack({"a": [money]})) == {"a": [money]}
    merge = codec.merge_of(money)
    assert merge is not None
    assert merge(money, money) == Money(Decimal("2.20"), [])
    assert codec.merge_of(1) is None


def test_a_type_of_ones_own_needs_both_ways() -> None:
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    codec.register(Celsius, name="test.Celsius", dump=lambda value: value.degrees, load=Celsius)
    assert codec.unpack(codec.pack([Celsius(1.5)]))[0].degrees == 1.5

    class Half:
        pass

    codec.register(Half, name="test.Half")
    with pytest.raises(NotSerializable, match="registered without dump="):
        codec.pack({"a": Half()})


def test_an_object_of_a_type_that_is_not_registered_here_comes_as_its_fields() -> None:
    packed = codec.pack(Point(1, [2]))
    assert codec.unpack(packed) == {"x": 1, "y": [2]}


def test_a_form_of_a_newer_version_is_a_clear_error() -> None:
    packed = codec._encoder.encode([1, Ext(99, b"new")])  # noqa: SLF001 - as a newer version would write it
    with pytest.raises(RecordTooNew, match="unknown form 99: a newer ctxqueue wrote it; upgrade"):
        codec.unpack(packed)


def test_known_bytes_stay_as_they_are() -> None:
    """A store outlives a release: what was once written must be read for ever."""
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    value = [1, "a", b"b", Decimal("1.10"), UUID(int=7), date(2026, 7, 1), moment, (1,), {2}, frozenset(), 2**70]
    known = (
        "9b01a161c40162d602312e3130d80300000000000000000000000000000007c70a04323032362d30372d3031c7"
        "1905323032362d30372d30315431323a30303a30302b30303a3030d5069101d5079102d40890c7090140000000"
        "0000000000"
    )
    assert codec.pack(value).hex() == known
    assert codec.unpack(bytes.fromhex(known)) == value


def test_a_record_of_a_newer_codec_is_left_alone() -> None:
    meta = encode_meta("a", ContextPriority.LOW, pinned=False, sensitive=False, depends_on=(), metadata=None)
    record = encode_record(Stamp(3, b"12345678"), 7, 1_000, 0, b"agent", meta, codec.pack([1]))
    header = decode_header(record)
    assert (header.stamp, header.revision, header.written_us, header.expires_us) == (Stamp(3, b"12345678"), 7, 1_000, 0)
    newer = bytes([codec.CODEC_VERSION + 1]) + record[1:]
    for read in (decode_header, lambda raw: decode_entry(Address(ContextScope.WORKFLOW, "", "k"), raw)):
        with pytest.raises(RecordTooNew, match="codec version 2, this process knows up to 1: upgrade it"):
            read(newer)


@given(values, st.integers(1, 2**53), st.integers(0, 2**53), st.text(max_size=20), st.booleans())
def test_records_round_trip(value: Any, version: int, instant: int, agent_id: str, flag: bool) -> None:  # noqa: FBT001
    meta = encode_meta(
        "ä", ContextPriority.HIGH, pinned=flag, sensitive=False, depends_on=("d", "ä"), metadata={"m": value}
    )
    stamp = Stamp(version, uuid4().bytes[:8])
    record = encode_record(stamp, version, min(instant, 10**17), 0, agent_id.encode(), meta, codec.pack(value))
    entry = decode_entry(Address(ContextScope.PRIVATE, "o", "k"), record)
    assert (entry.version, entry.revision, entry.agent_id, entry.created_by) == (version, version, agent_id, "ä")
    assert (entry.value, entry.metadata, entry.pinned) == (value, {"m": value}, flag)
    assert (entry.priority, entry.dependencies, entry.owner) == (ContextPriority.HIGH, ("d", "ä"), "o")
