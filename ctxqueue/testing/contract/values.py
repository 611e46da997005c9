"""Values of every type come back as what they are."""
# ruff: noqa: D102, S101 - tests: a name is a sentence

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from ctxqueue import codec
from ctxqueue.testing.contract.base import Contract

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle


class Unit(Enum):
    """Stored as its value."""

    EURO = "EUR"


@dataclass(frozen=True)
class Amount:
    """Registered below: comes back as itself, and merges by adding up."""

    amount: Decimal
    unit: str = "EUR"

    def merge(self, other: Amount) -> Amount:
        return Amount(self.amount + other.amount, self.unit)


@dataclass
class Row:
    """Not registered: comes back as a dict."""

    line: int
    amounts: list[Amount]


class Convertible:
    """Has a form of its own."""

    def to_dict(self) -> dict[str, Any]:
        return {"a": (1, 2)}


codec.register(Amount, name="ctxqueue.testing.contract.Amount")

SAME: dict[str, Any] = {
    **{repr(value): value for value in (None, True, False, 0, -1, 1.5, -0.0, "", "text", "ä\x00😀", b"", b"\x00\xff")},
    "large integers": [2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**5_000, -(10**40)],
    "floats": [math.pi, 1e308, 5e-324, 0.1 + 0.2],
    "decimals": [Decimal("1.10"), Decimal(0), Decimal("-0.00"), Decimal("1E+30"), Decimal("0." + "1" * 60)],
    "instants": [
        datetime(2026, 7, 1, 12, 30, 15, 123_456, tzinfo=UTC),
        datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(1, 1, 1),  # noqa: DTZ001 - a naive one stays naive
        date(2026, 7, 1),
    ],
    "a uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "tuples": [(), (1,), (1, (2, [3]))],
    "sets": [set(), {1, "a", (2, 3)}, frozenset({frozenset({1})})],
    "dicts": {"": 0, "a": {1: "integer key", "1": "text key"}, "ä": {}},
    "lists": [[], [[]], [None, [True, {"a": [1.5]}]]],
    "registered": [Amount(Decimal("1.10")), {"a": {Amount(Decimal(2), "USD")}}],
}
STORED_AS: dict[str, tuple[Any, Any]] = {
    "an enum": ([Unit.EURO, {Unit.EURO: 1}], ["EUR", {"EUR": 1}]),
    "a dataclass": (Row(1, [Amount(Decimal(1))]), {"line": 1, "amounts": [Amount(Decimal(1))]}),
    "an object with to_dict()": ([Convertible()], [{"a": (1, 2)}]),
    "a bytearray": (bytearray(b"ab"), b"ab"),
}


class Values(Contract):
    """The codec, through the store."""

    @pytest.mark.parametrize("value", SAME.values(), ids=SAME)
    def test_a_value_comes_back_as_it_was(self, wf: WorkflowHandle, value: Any) -> None:
        wf.put("k", value)
        wf.update({"l": [value]}, merge_strategy="append")
        for found in (wf["k"], wf["l"][0], wf.view()["k"], wf.list().items[0].value):
            assert found == value
            assert codec.pack(found) == codec.pack(value)  # tells 1 from True and 1.0

    @pytest.mark.parametrize(("value", "stored"), STORED_AS.values(), ids=STORED_AS)
    def test_a_value_comes_back_in_its_stored_form(self, wf: WorkflowHandle, value: Any, stored: Any) -> None:
        wf.put("k", value)
        assert wf["k"] == stored

    def test_arrays(self, wf: WorkflowHandle) -> None:
        numpy = pytest.importorskip("numpy")
        for array in (
            numpy.arange(6, dtype="float32").reshape(2, 3),
            numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
            numpy.zeros((0, 3)),
            numpy.array([True, False]),
            numpy.array(["ab", "c"]),
            numpy.arange(3, dtype=">i2"),
        ):
            wf.put("k", {"array": array})
            found = wf["k"]["array"]
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert (found == array).all()
            found[...] = array  # the reader's own, so it may be written to
        wf.put("k", [numpy.int64(5), numpy.float32(0.5), numpy.bool_(True), numpy.array(7)])  # noqa: FBT003
        assert wf["k"] == [5, 0.5, True, 7]

    def test_objects_of_a_registered_type_merge_by_their_own_rule(self, wf: WorkflowHandle) -> None:
        wf.put("total", {"q3": Amount(Decimal("1.10"))})
        wf.put("sum", Amount(Decimal(1)))
        wf.update({"total": {"q3": Amount(Decimal("2.20")), "q4": Amount(Decimal(1))}, "sum": Amount(Decimal(2))})
        assert wf["total"] == {"q3": Amount(Decimal("3.30")), "q4": Amount(Decimal(1))}
        assert wf["sum"] == Amount(Decimal(3))

    def test_merging_goes_by_the_stored_form(self, wf: WorkflowHandle) -> None:
        wf.put("converted", {"b": 1})
        wf.put("row", {"line": 1, "note": "kept"})
        wf.update({"converted": Convertible(), "row": Row(2, [])})
        assert wf["converted"] == {"a": (1, 2), "b": 1}
        assert wf["row"] == {"line": 2, "amounts": [], "note": "kept"}

    def test_metadata_holds_values_too(self, wf: WorkflowHandle) -> None:
        metadata = {"at": datetime(2026, 7, 1, tzinfo=UTC), "sum": Decimal("1.10"), "nested": {"l": [(1, 2)]}}
        wf.put("k", 1, metadata=metadata)
        assert wf.get("k").metadata == metadata  # type: ignore[union-attr]
        wf.update({"k": {"a": 1}})
        assert wf.get("k").metadata == metadata  # type: ignore[union-attr]
