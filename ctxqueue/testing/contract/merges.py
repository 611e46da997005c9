"""Merging in the store gives what merging in Python gives, and leaves to Python what it cannot do."""
# ruff: noqa: D102, PLR2004, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import InvalidInput, NotSerializable
from ctxqueue.models import ContextPriority
from ctxqueue.rules import merging
from ctxqueue.testing.contract.base import Contract, nothing_written

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle

NUMBERS: list[Any] = [
    *(0, 1, -1, 31, -32, -33, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32, -(2**31) - 1, -128, -129, -32_769),
    *(2**52, 2**53 - 1, 2**53, 2**53 + 1, -(2**53), 2**63, 2**64, 2**70),
    *(0.0, -0.0, 0.5, -1.5, 1.0, 2.0**53, 1e300, -1e300, 5e-324),
]


class Merges(Contract):
    """increment, maximum, minimum, keep."""

    @pytest.mark.parametrize("strategy", ["increment", "maximum", "minimum"])
    def test_numbers(self, wf: WorkflowHandle, strategy: str) -> None:
        for number, new in enumerate(NUMBERS):
            # Each with a third of the others, another third for its neighbour.
            pairs = {f"k{ordinal}": existing for ordinal, existing in enumerate(NUMBERS[number % 3 :: 3])}
            wf.update(pairs, merge_strategy="replace")
            wf.update(dict.fromkeys(pairs, new), merge_strategy=strategy)
            for key, existing in pairs.items():
                expected = merging.strategy(strategy).merge(existing, new, ContextPriority.MEDIUM)
                value = wf[key]
                assert (repr(value), type(value)) == (repr(expected), type(expected)), (existing, new)

    def test_a_first_one_is_written_as_it_is(self, wf: WorkflowHandle) -> None:
        for strategy in ("increment", "maximum", "minimum", "keep"):
            assert wf.update({strategy: 7}, merge_strategy=strategy).versions == {strategy: 1}
            assert wf[strategy] == 7

    def test_what_is_no_number_is_refused(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("text", "x")
        wf.put("list", [1])
        with nothing_written(operator):
            for strategy in ("increment", "maximum", "minimum"):
                for key in ("text", "list"):
                    with pytest.raises(InvalidInput):
                        wf.update({key: 1}, merge_strategy=strategy)

    def test_a_sum_beyond_all_floats_is_refused(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", 1.7e308)
        with nothing_written(operator), pytest.raises(NotSerializable):
            wf.update({"k": 1.7e308}, merge_strategy="increment")

    def test_texts_and_dates_have_a_maximum_too(self, wf: WorkflowHandle) -> None:
        wf.put("k", "2026-01-01")
        wf.update({"k": "2026-09-30"}, merge_strategy="maximum")
        wf.update({"k": "2025-09-30"}, merge_strategy="maximum")
        assert wf["k"] == "2026-09-30"

    def test_the_first_one_is_kept_and_nothing_changes(self, wf: WorkflowHandle, operator: WorkflowHandle) -> None:
        wf.put("k", "first")
        with nothing_written(operator):
            result = wf.update({"k": "second"}, merge_strategy="keep")
            assert (result.revision, result.versions) == (1, {"k": 1})
        result = wf.update({"k": "second", "new": 1}, merge_strategy="keep")
        assert (result.revision, result.versions) == (2, {"k": 1, "new": 1})
        assert dict(wf.view()) == {"k": "first", "new": 1}

    def test_a_merge_keeps_what_is_known_of_the_entry(self, wf: WorkflowHandle) -> None:
        wf.put("k", 1, priority="high", ttl=3_600, metadata={"m": 1}, pinned=True, depends_on=["other"])
        before = wf.view().entry("k")
        wf.update({"k": 1}, merge_strategy="increment")
        after = wf.view().entry("k")
        for field in ("priority", "expires_at", "metadata", "pinned", "dependencies", "created_by"):
            assert getattr(after, field) == getattr(before, field), field
        assert (after.value, after.version) == (2, 2)
