"""Nobody sees what an oracle of ten lines denies: by no path, not a key's name, not a count, not by what fires.

Each world is made twice: with all that happened, and without what the oracle says its looker may never know of. What is
seen by any path is the same in both. And what is listed is what the oracle allows, no less.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from ctxqueue.models import OPERATOR
from ctxqueue.read_paths import READ_PATHS
from tests.property import worlds
from tests.property.sights import SIGHTINGS, armed
from tests.property.worlds import KEYS, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.models import Agent
    from tests.property.worlds import Event, Policy

BY_OTHER_TESTS = {
    "MemoryEnhancedContextManager.get_context_with_memory",
    "UnifiedContextMemorySystem.process_with_memory_learning",
    "WorkingMemory.items",
}
OF_MEMORIES = ("VectorMemoryManager.", "QueuedMemoryManager.", "PendingRecall.")


def test_each_path_of_an_agents_is_driven() -> None:
    driven = {sighting.path for sighting in SIGHTINGS} | BY_OTHER_TESTS
    agents = {path for path, sight in READ_PATHS.items() if sight == "agent"}
    assert driven == {path for path in agents if not path.startswith(OF_MEMORIES)}


def looked_at(world: World, happened: list[Event]) -> dict[str, Any]:
    """Return what is seen by each way, after some things have happened."""
    refusals = armed(world)
    world.happen(happened)
    looks = dict.fromkeys(sighting.look for sighting in SIGHTINGS)
    return {"refused": refusals} | {look.__name__: look(world) for look in looks}


def check(url: str, policy: Policy, agent: Agent, happened: list[Event], loop: asyncio.Runner | None) -> None:
    hidden = worlds.hidden_places(policy, agent, happened)
    whole, rest = World.of(url, policy, agent, loop), World.of(url, policy, agent, loop)
    try:
        found = looked_at(whole, happened)
        without = looked_at(rest, [event for event in happened if event.place not in hidden])
        for name in found:
            if name == "viewed_then":  # of the same moments
                found[name] = {number: found[name][number] for number in without[name]}
            assert found[name] == without[name], (
                f"{name} shows something of {sorted(hidden)}: {differing(found[name], without[name])}"
            )
        nothing_is_named(policy, agent, happened, found)
        nothing_is_told(policy, agent, happened, found)
        all_is_listed(policy, agent, happened, found["listed"][0])
    finally:
        whole.close()
        rest.close()


def differing(found: Any, without: Any) -> Any:
    """Return the parts of two sightings that are not the same."""
    if isinstance(found, list | tuple) and isinstance(without, list | tuple) and len(found) == len(without):
        return [differing(*pair) for pair in zip(found, without, strict=True) if pair[0] != pair[1]]
    return found, without


def nothing_is_named(policy: Policy, agent: Agent, happened: list[Event], found: dict[str, Any]) -> None:
    """No path speaks of a key that may not be named, unless an entry of it is seen, or the very key was asked for."""
    seen_there = {
        event.place.key for event in happened if event.place not in worlds.hidden_places(policy, agent, happened)
    }
    unnamed = [key for key in KEYS if key not in seen_there and not worlds.may_name(policy, agent, key)]
    asked = {"refused", *(each.look.__name__ for each in SIGHTINGS if each.of_key)}
    for name, seen in found.items():
        if name not in asked:
            assert [key for key in unnamed if key in repr(seen)] == [], f"{name} names {unnamed}: {seen!r}"


def nothing_is_told(policy: Policy, agent: Agent, happened: list[Event], found: dict[str, Any]) -> None:
    """No path shows a value that may not be read."""
    hidden = [
        event.value[:15]
        for event in happened
        if not event.deletes and not worlds.may_read(policy, agent, event.place, sensitive=event.sensitive)
    ]
    for name, seen in found.items():
        if name not in ("waited", "needed", "refused", "fired", "drawn"):  # those have values in their questions
            assert [value for value in hidden if value in repr(seen)] == [], f"{name} shows a value of {hidden}"


def all_is_listed(policy: Policy, agent: Agent, happened: list[Event], pages: list[list[Any]]) -> None:
    standing: dict[worlds.Place, Event] = {}
    for event in happened:
        if event.deletes:
            standing.pop(event.place, None)
        else:
            standing[event.place] = event
    expected = {
        (*place, event.value)
        for place, event in standing.items()
        if worlds.may_read(policy, agent, place, sensitive=event.sensitive)
    }
    assert isinstance(pages, list), f"listing was refused: {pages}"
    assert {tuple(entry[:4]) for page in pages for entry in page} == expected


OF_NAMED_AGENTS = {"context", "executed", "notified"}
QUESTIONS = {"waited", "needed", "fired", "drawn"}
"""These have values in what is asked."""


def check_operator(url: str, policy: Policy, happened: list[Event]) -> None:
    """Who acts as nobody sees all that is there, and of what is sensitive no value."""
    world = World.of(url, policy, OPERATOR)
    try:
        refusals = armed(world)
        world.happen(happened)
        found = {
            each.look.__name__: each.look(world) for each in SIGHTINGS if each.look.__name__ not in OF_NAMED_AGENTS
        }
        assert {answer and answer[0] for answer in refusals.values()} <= {"", "ConditionError"}
        hidden = [
            event.value[:15]
            for event in happened
            if event.sensitive or any(worlds.covers(mark, event.place) for mark in policy["sensitive"])
        ]
        for name, seen in found.items():
            if name not in QUESTIONS:
                assert [value for value in hidden if value in repr(seen)] == [], f"{name} shows a value of {hidden}"
        revealed = world.handle.list(reveal=True, limit=1_000)
        assert len(revealed) == len(world.handle.list(limit=1_000))
        assert {each.value for each in revealed if each.sensitive} <= {"mine", *(event.value for event in happened)}
    finally:
        world.close()


def run(url: Callable[[], str], examples: int, *, awaited: bool = False) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(worlds.policies, worlds.agents, worlds.events)
    def nobody_sees_more(policy: Policy, agent: Agent, happened: list[Event]) -> None:
        check(url(), policy, agent, happened, loop)

    if not awaited:
        loop = None
        nobody_sees_more()
    else:
        with asyncio.Runner() as loop:
            nobody_sees_more()


def url_of(kind: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    if kind == "memory":
        return lambda: f"memory://{uuid.uuid4()}"
    url: str = request.getfixturevalue(f"{kind}_url")
    return lambda: url


@pytest.mark.parametrize(("kind", "examples"), [("memory", 60), ("redis", 3), ("sqlite", 2)])
def test_nobody_sees_what_the_oracle_denies(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    run(url_of(kind, request), examples)


@pytest.mark.parametrize(("kind", "examples"), [("memory", 15)])
def test_nor_by_the_async_face(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    run(url_of(kind, request), examples, awaited=True)


def test_the_operator_sees_no_sensitive_value_unasked() -> None:
    @settings(max_examples=10, deadline=None)
    @given(worlds.policies, worlds.events)
    def nothing_is_shown(policy: Policy, happened: list[Event]) -> None:
        check_operator(f"memory://{uuid.uuid4()}", policy, happened)

    nothing_is_shown()


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("kind", "examples"), [("memory", 3_000), ("redis", 200), ("sqlite", 100), ("postgres", 100)])
def test_nobody_sees_what_the_oracle_denies_for_long(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    run(url_of(kind, request), examples)
    run(url_of(kind, request), examples // 10, awaited=True)
