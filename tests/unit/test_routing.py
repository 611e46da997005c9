"""What each answer of a cluster makes the router do next, driven by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions as rx

from ctxqueue.errors import UnsafeServer
from ctxqueue.stores.redis import scripts
from ctxqueue.stores.redis.routing import (
    MOST_DETOURS,
    RESHARDING_PAUSE,
    RESHARDING_SECONDS,
    Command,
    Pause,
    Refresh,
    Send,
    routed,
)

if TYPE_CHECKING:
    from collections.abc import Generator

RETRIES = 3
SAFE = [{"redis_version": "7.0"}, {"maxmemory_policy": "noeviction"}]
A, B = ("EVALSHA", "a"), ("EVALSHA", "b")


@dataclass
class Node:
    name: str


@dataclass
class Map:
    """Keys by node, as the client believes it."""

    homes: dict[str, Node | None]
    known: dict[tuple[str, int], Node] = field(default_factory=dict)

    def get_node_from_key(self, key: str) -> Node:
        node = self.homes[key]
        if node is None:
            raise rx.SlotNotCoveredError("nobody serves it")
        return node

    def get_node(self, host: str, port: int) -> Node | None:
        return self.known.get((host, port))

    def get_primaries(self) -> list[Node]:
        return [node for node in self.homes.values() if node]


ONE, TWO = Node("one:1"), Node("two:2")


@pytest.fixture
def nodes() -> Map:
    return Map({"a": ONE, "b": TWO}, {("one", 1): ONE, ("two", 2): TWO})


def both(nodes: Map) -> Generator[Any, Any, list[Any]]:
    return routed(nodes, [Command("a", A), Command("b", B)], RETRIES)


def one(nodes: Map) -> Generator[Any, Any, list[Any]]:
    return routed(nodes, [Command("a", A)], RETRIES)


def refuse(flow: Generator[Any, Any, list[Any]], error: Exception, steps: list[Any]) -> None:
    """Answer each command with the error; note the steps until the flow gives up."""
    steps.append(next(flow))
    while True:
        steps.append(flow.send([[error]] if isinstance(steps[-1], Send) else None))


def result(flow: Generator[Any, Any, list[Any]], reply: Any) -> list[Any]:
    with pytest.raises(StopIteration) as stop:
        flow.send(reply)
    replies: list[Any] = stop.value.value
    return replies


def test_commands_of_many_shards_go_in_one_batch_a_node(nodes: Map) -> None:
    nodes.homes["c"] = ONE
    flow = routed(nodes, [Command("a", A), Command("b", B), Command("c", A)], RETRIES)
    assert next(flow) == Send([(ONE, [A, A]), (TWO, [B])])
    assert result(flow, [[1, 3], [2]]) == [1, 2, 3]


def test_only_what_was_refused_is_sent_again(nodes: Map) -> None:
    flow = both(nodes)
    next(flow)
    assert flow.send([[rx.MovedError("5 two:2")], ["b's"]]) == Refresh()
    assert flow.send(None) == Send([(TWO, [A])])
    assert result(flow, [["a's"]]) == ["a's", "b's"]


def test_a_move_to_a_node_that_nobody_knows_goes_by_the_map_again(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    assert flow.send([[rx.MovedError("5 three:3")]]) == Refresh()
    nodes.homes["a"] = TWO
    assert flow.send(None) == Send([(TWO, [A])])


def test_asking_goes_before_the_command_on_the_same_connection(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    assert flow.send([[rx.AskError("5 two:2")]]) == Send([(TWO, [("ASKING",), A])])
    assert result(flow, [[b"OK", "a's"]]) == ["a's"]


def test_after_asking_in_vain_the_map_is_followed_again(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    flow.send([[rx.AskError("5 two:2")]])
    pause = flow.send([[b"OK", rx.TryAgainError("TRYAGAIN")]])
    assert isinstance(pause, Pause)
    assert flow.send(None) == Send([(ONE, [A])])


def test_a_slot_on_its_way_to_a_node_that_nobody_knows_is_waited_for(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    assert isinstance(flow.send([[rx.AskError("5 three:3")]]), Pause)
    assert flow.send(None) == Refresh()
    assert flow.send(None) == Send([(ONE, [A])])
    nodes.known["three", 3] = three = Node("three:3")
    assert flow.send([[rx.AskError("5 three:3")]]) == Send([(three, [("ASKING",), A])])
    assert result(flow, [[b"OK", "a's"]]) == ["a's"]


@pytest.mark.parametrize("error", [rx.TryAgainError("TRYAGAIN"), rx.AskError("5 three:3")])
def test_a_slot_that_never_arrives_is_given_up(nodes: Map, error: Exception) -> None:
    steps: list[Any] = []
    with pytest.raises(rx.TryAgainError):
        refuse(one(nodes), error, steps)
    waited = sum(step.seconds for step in steps if isinstance(step, Pause))
    assert RESHARDING_SECONDS <= waited <= RESHARDING_SECONDS + RESHARDING_PAUSE


def test_nodes_that_send_it_to_and_fro_are_given_up(nodes: Map) -> None:
    steps: list[Any] = []
    with pytest.raises(rx.MovedError):
        refuse(one(nodes), rx.MovedError("5 two:2"), steps)
    assert sum(isinstance(step, Send) for step in steps) == MOST_DETOURS + 1


@pytest.mark.parametrize(
    "error", [rx.ConnectionError("refused"), rx.TimeoutError("silent"), rx.ClusterDownError("CLUSTERDOWN")]
)
def test_a_master_that_stays_away_is_given_up(nodes: Map, error: Exception) -> None:
    flow = one(nodes)
    next(flow)
    for _ in range(RETRIES):
        assert isinstance(flow.send([[error]]), Pause)
        assert flow.send(None) == Refresh()
        assert flow.send(None) == Send([(ONE, [A])])
    with pytest.raises(type(error)):
        flow.send([[error]])


def test_a_slot_that_nobody_serves_keeps_only_its_own_commands(nodes: Map) -> None:
    nodes.homes["a"] = None
    flow = both(nodes)
    assert next(flow) == Send([(TWO, [B])])
    assert isinstance(flow.send([["b's"]]), Pause)
    assert flow.send(None) == Refresh()
    nodes.homes["a"] = ONE
    assert flow.send(None) == Send([(ONE, [A])])
    assert result(flow, [["a's"]]) == ["a's", "b's"]


@pytest.mark.parametrize("error", [rx.AuthenticationError("NOAUTH"), rx.ResponseError("WRONGTYPE"), rx.ReadOnlyError()])
def test_what_sending_again_does_not_mend_is_raised(nodes: Map, error: Exception) -> None:
    flow = both(nodes)
    next(flow)
    with pytest.raises(type(error)):
        flow.send([[rx.ConnectionError("refused")], [error]])


def test_a_node_without_our_scripts_is_looked_at_and_gets_them(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    assert flow.send([[rx.NoScriptError("NOSCRIPT")]]) == Send([(ONE, [("INFO", "server"), ("INFO", "memory")])])
    loads = flow.send([SAFE])
    assert loads == Send([(ONE, list(scripts.LOADS))])
    assert flow.send([["sha"] * len(scripts.ALL)]) == Send([(ONE, [A])])
    assert result(flow, [["a's"]]) == ["a's"]


def test_a_node_that_took_over_and_may_evict_is_refused(nodes: Map) -> None:
    flow = one(nodes)
    next(flow)
    flow.send([[rx.NoScriptError("NOSCRIPT")]])
    with pytest.raises(UnsafeServer, match="one:1 has maxmemory-policy allkeys-lru"):
        flow.send([[SAFE[0], {"maxmemory_policy": "allkeys-lru"}]])
