"""Merge strategies keep their laws, whatever the values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctxqueue import codec
from ctxqueue.errors import InvalidInput, UnknownStrategy
from ctxqueue.models import ContextPriority
from ctxqueue.rules import merging

floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | floats | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
dicts = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)
priorities = st.sampled_from(ContextPriority)
strategies = st.sampled_from(sorted(merging.BUILT_IN))


PARTICULAR = {"append", "union", "increment", "maximum", "minimum"}
"""Take only values of some types."""


def same(left: Any, right: Any) -> bool:
    """Alike in their stored form, which tells 1 from True and 1.0."""
    return codec.pack(left) == codec.pack(right)


@example(1.7e308, 1.7e308, ContextPriority.LOW, "increment")
@given(values, values, priorities, strategies)
def test_a_strategy_leaves_its_arguments_alone_and_answers_the_same_twice(
    existing: Any, new: Any, priority: ContextPriority, name: str
) -> None:
    merge, check = merging.strategy(name)
    before = copy.deepcopy((existing, new))
    try:
        if check is not None:
            check(name, new)
        results = [merge(existing, new, priority) for _ in range(2)]
    except InvalidInput:
        assert name in PARTICULAR
    else:
        assert same(*results)
    assert same((existing, new), before)


@given(values, values, priorities)
def test_merging_the_same_again_changes_nothing(existing: Any, new: Any, priority: ContextPriority) -> None:
    for name in merging.BUILT_IN - PARTICULAR:
        merge = merging.strategy(name).merge
        once = merge(existing, new, priority)
        assert same(merge(once, new, priority), once)


@given(st.lists(values), st.lists(values), st.lists(values), priorities)
def test_append_is_associative(a: list[Any], b: list[Any], c: list[Any], priority: ContextPriority) -> None:
    append = merging.strategy("append").merge
    assert same(append(append(a, b, priority), c, priority), append(a, append(b, c, priority), priority))
    assert append(a, [], priority) == a


@given(st.lists(values), st.lists(values), priorities)
def test_a_union_of_the_same_again_changes_nothing(a: list[Any], b: list[Any], priority: ContextPriority) -> None:
    union = merging.strategy("union").merge
    once = union(a, b, priority)
    assert same(union(once, b, priority), once)


cents = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
numbers = st.integers() | cents


@given(numbers, numbers, numbers, priorities)
def test_arithmetic(a: Any, b: Any, c: Any, priority: ContextPriority) -> None:
    increment, maximum, minimum = (merging.strategy(name).merge for name in ("increment", "maximum", "minimum"))
    if all(isinstance(number, int) for number in (a, b, c)):
        assert increment(increment(a, b, priority), c, priority) == increment(a, increment(b, c, priority), priority)
    for merge in (increment, maximum, minimum):
        assert merge(a, b, priority) == merge(b, a, priority)
    for merge in (maximum, minimum):
        once = merge(a, b, priority)
        assert merge(once, b, priority) == once
    assert (increment(a, 0, priority), maximum(a, b, priority)) == (a, max(a, b))


@given(dicts, dicts, priorities)
def test_smart_merge_of_dicts_has_all_keys_and_loses_none(
    existing: dict[str, Any], new: dict[str, Any], priority: ContextPriority
) -> None:
    merged = merging.smart_merge(existing, new, priority)
    assert set(merged) == set(existing) | set(new)
    for key in set(existing) - set(new):
        assert same(merged[key], existing[key])
    for key in set(new) - set(existing):
        assert same(merged[key], new[key])


@given(dicts, dicts, dicts)
def test_disjoint_updates_commute(existing: dict[str, Any], one: dict[str, Any], two: dict[str, Any]) -> None:
    """What makes parallel writers of their own keys independent of the order in which they come."""
    one = {f"1{key}": value for key, value in one.items()}
    two = {f"2{key}": value for key, value in two.items()}
    low = ContextPriority.LOW
    first = merging.smart_merge(merging.smart_merge(existing, one, low), two, low)
    second = merging.smart_merge(merging.smart_merge(existing, two, low), one, low)
    assert first == second


@given(st.lists(values), st.lists(values), st.sampled_from([ContextPriority.HIGH, ContextPriority.CRITICAL]))
def test_lists_that_matter_take_in_order_what_is_new(
    existing: list[Any], new: list[Any], priority: ContextPriority
) -> None:
    merged = merging.smart_merge(existing, new, priority)
    assert merged[: len(existing)] == existing
    known = {codec.pack(item) for item in existing}
    assert [codec.pack(item) for item in merged[len(existing) :]] == [
        packed for packed in map(codec.pack, new) if packed not in known
    ]


@given(st.lists(values), st.lists(values), st.sampled_from([ContextPriority.LOW, ContextPriority.MEDIUM]))
def test_other_lists_are_replaced(existing: list[Any], new: list[Any], priority: ContextPriority) -> None:
    assert merging.smart_merge(existing, new, priority) is new


@given(values, values, priorities, strategies)
def test_what_counts_as_plain_replacement_replaces(
    existing: Any, new: Any, priority: ContextPriority, name: str
) -> None:
    if merging.is_plain_replacement(name, new):
        assert merging.strategy(name).merge(existing, new, priority) is new


class Dictlike:
    def to_dict(self) -> dict[str, int]:
        return {"a": 1}


def test_what_is_stored_as_a_dict_is_not_taken_for_a_plain_value() -> None:
    assert merging.is_plain_replacement("replace", Dictlike())
    assert not merging.is_plain_replacement("smart_merge", Dictlike())
    assert not merging.is_plain_replacement("append", 1)
    for value in (1, 1.5, "a", None, b"a", (1,), {1}, True):
        assert merging.is_plain_replacement("smart_merge", value)


@pytest.mark.parametrize("other", [None, 1, "a", {"a": 1}, (1,)])
@pytest.mark.parametrize("name", ["append", "union"])
def test_lists_alone_are_concatenated(name: str, other: Any) -> None:
    merge, check = merging.strategy(name)
    with pytest.raises(InvalidInput, match=f"{name} needs a list, the entry holds a"):
        merge(other, [1], ContextPriority.LOW)
    assert check is not None
    with pytest.raises(InvalidInput, match=r"wrap it as \[value\]"):
        check(name, other)


@pytest.mark.parametrize("name", ["", "merge", None, 5, ["replace"], "SMART_MERGE"])
def test_an_unknown_strategy(name: Any) -> None:
    with pytest.raises(UnknownStrategy, match="is none of smart_merge, replace, append"):
        merging.strategy(name)
