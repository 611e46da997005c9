"""Conditions: what holds, what is missing, and which absent keys keep a false one false."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctxqueue.errors import AccessDenied, ConditionError, InvalidName
from ctxqueue.models import OPERATOR, Agent
from ctxqueue.rules.conditions import Condition, all_of, any_of, as_condition, key, keys_of
from ctxqueue.rules.dependencies import addresses_of, holds, presence, resolve, unmet, witness
from ctxqueue.rules.policies import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.rules.dependencies import Presence

AGENT = Agent("analyst_001", groups=("audit", "risk"))
ADDRESSES = [f"w\0\0{letter}" for letter in "abcdefg"]

leaves = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True).map(lambda some: ["e", *some])
trees = st.recursive(
    leaves,
    lambda parts: st.tuples(st.sampled_from("ao"), st.lists(parts, min_size=1, max_size=4)).map(
        lambda pair: [pair[0], *pair[1]]
    ),
    max_leaves=12,
)
presences = st.frozensets(st.sampled_from(ADDRESSES))


def plain(present: Iterable[str]) -> Presence:
    return presence(dict.fromkeys(present, False))


@given(trees, presences, presences)
def test_a_false_condition_stays_false_while_its_witness_is_absent(
    tree: list[Any], now: frozenset[str], later: frozenset[str]
) -> None:
    assume(not holds(tree, plain(now)))
    watched = witness(tree, plain(now))
    assert watched
    assert not now.intersection(watched)
    # Whatever comes and goes: as long as nothing of the witness comes.
    assert not holds(tree, plain(later - set(watched)))
    assert set(watched) <= set(addresses_of(tree))


@given(trees, presences)
def test_moving_from_witness_to_witness_ends_when_the_condition_holds(tree: list[Any], present: frozenset[str]) -> None:
    """What the stores do: whenever a watched address is written, look again and watch what is missing then."""
    there = set(present)
    looks = 0
    while not holds(tree, plain(there)):
        there.add(witness(tree, plain(there))[0])
        looks += 1
        assert looks <= len(ADDRESSES)


@given(trees, presences)
def test_more_keys_never_make_a_condition_false(tree: list[Any], present: frozenset[str]) -> None:
    if holds(tree, plain(present)):
        for address in ADDRESSES:
            assert holds(tree, plain(present | {address}))
    assert holds(tree, plain(ADDRESSES))
    assert not holds(tree, plain(()))


@given(trees, presences)
def test_what_is_unmet_are_the_false_leaves(tree: list[Any], present: frozenset[str]) -> None:
    missing = unmet(tree, plain(present))
    assert missing == sorted(set(missing))
    if not missing:
        assert holds(tree, plain(present))
    if not holds(tree, plain(present)):
        assert missing


def test_ordinals_name_the_keys_in_the_order_of_the_condition() -> None:
    condition = all_of("a", any_of("b", all_of("c", "a")), key("d").exists())
    assert list(keys_of(condition)) == ["a", "b", "c", "a", "d"]
    tree = resolve(SHIPPED, condition, AGENT)
    present = {"w\0\0b", "p\0analyst_001\0d"}
    assert [list(keys_of(condition))[each] for each in unmet(tree, plain(present))] == ["a", "c", "a"]


def test_a_key_is_there_wherever_the_agent_would_find_it() -> None:
    assert resolve(SHIPPED, as_condition("k"), AGENT) == [
        "p",
        "p\0analyst_001\0k",
        "g\0audit\0k",
        "g\0risk\0k",
        "w\0\0k",
    ]
    assert resolve(SHIPPED, all_of("a", any_of("b")), Agent("x")) == [
        "a",
        ["p", "p\0x\0a", "w\0\0a"],
        ["o", ["p", "p\0x\0b", "w\0\0b"]],
    ]


def test_for_all_of_one_missing_key_is_watched_and_for_any_of_each() -> None:
    tree = resolve(SHIPPED, all_of("a", "b", "c"), Agent("x"))
    assert witness(tree, plain(["w\0\0a"])) == ["p\0x\0c", "w\0\0c"]
    tree = resolve(SHIPPED, any_of("a", all_of("b", "c")), Agent("x"))
    assert witness(tree, plain(["w\0\0c"])) == ["p\0x\0a", "w\0\0a", "p\0x\0b", "w\0\0b"]


@pytest.mark.parametrize("wrong", [None, 5, ["a"], b"a", key("a"), {"a": 1}], ids=repr)
def test_what_is_no_condition(wrong: Any) -> None:
    for make in (as_condition, all_of, lambda part: any_of("a", part)):
        with pytest.raises(ConditionError, match="is no condition: give keys, or what all_of"):
            make(wrong)


@pytest.mark.parametrize("make", [all_of, any_of])
def test_an_empty_condition(make: Any) -> None:
    with pytest.raises(ConditionError, match="is empty"):
        make()


@pytest.mark.parametrize("pattern", ["revenue_*", "a?", "[ab]c", "*"])
def test_a_pattern_is_no_key(pattern: str) -> None:
    for make in (key, all_of, as_condition):
        with pytest.raises(ConditionError, match="looks like a pattern"):
            make(pattern)


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0b"])
def test_a_condition_on_a_bad_name(name: str) -> None:
    for make in (key, all_of, as_condition):
        with pytest.raises(InvalidName):
            make(name)


def test_the_size_of_a_condition_is_bounded() -> None:
    resolve(SHIPPED, all_of(*(f"k{number}" for number in range(1_000))), AGENT)
    with pytest.raises(ConditionError, match="1001 keys: at most 1000"):
        resolve(SHIPPED, all_of(*(f"k{number}" for number in range(1_001))), AGENT)


def test_the_depth_of_a_condition_is_bounded() -> None:
    condition: Condition = all_of("k")
    for _ in range(9):
        condition = any_of(condition)
    resolve(SHIPPED, condition, AGENT)
    for make in (all_of, any_of):
        with pytest.raises(ConditionError, match="nested deeper than 10 levels"):
            make("a", condition)


@pytest.mark.parametrize("name", ["db_password", "site_credentials", "rates_api_key"])
def test_nobody_waits_for_what_it_may_not_read(name: str) -> None:
    for condition in (as_condition(name), all_of("a", any_of("b", name))):
        with pytest.raises(AccessDenied, match="analyst_001 may not wait for"):
            resolve(SHIPPED, condition, AGENT)
        resolve(SHIPPED, condition, OPERATOR)
    resolve(SHIPPED, as_condition("site_credentials"), Agent("web_extractor_001"))
    resolve(SHIPPED, as_condition("rates_api_key"), Agent("financial_calculator"))
