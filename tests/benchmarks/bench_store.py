"""What the store's calls cost, in round trips of the client library: one GET of 200 bytes by redis-py is the unit."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue import connect
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.interleaved import durability, measure, pin_apart, table, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

GET = "GET of 200 bytes by redis-py"
MOST_GETS_AN_UPDATE = 4.5
MOST_OF_SIZE = 1.25
ROUNDS = 1_500
SIZES = (10, 10_000)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def manager(server: EmbeddedServer) -> Iterator[SharedContextManager]:
    with connect(server.url()) as manager:
        yield manager


def filled(manager: SharedContextManager, entries: int) -> WorkflowHandle:
    """A workflow that holds so many entries of about 200 bytes."""
    wf = manager.workflow(f"w{entries}", agent_id="analyst_001")
    wf.open()
    for first in range(0, entries, 200):
        wf.update({f"k{number:05}": about_200_bytes(number) for number in range(first, min(first + 200, entries))})
    return wf


def about_200_bytes(number: int) -> dict[str, Any]:
    return {"number": number, "text": "x" * 160, "flag": True}


def updating(wf: WorkflowHandle, keys: int) -> Callable[[], object]:
    """Updates of existing keys that this process wrote last."""
    numbers = itertools.count()
    names = [f"k{number:05}" for number in range(keys)]
    return lambda: wf.update(dict.fromkeys(names, about_200_bytes(next(numbers))))


def updating_in_turns(one: WorkflowHandle, other: WorkflowHandle) -> Callable[[], object]:
    """Updates of a key that another process wrote last: this one must look first."""
    numbers = itertools.count()
    turns = itertools.cycle([one, other])
    return lambda: next(turns).update({"k00005": about_200_bytes(next(numbers))})


def test_calls_in_round_trips(server: EmbeddedServer, manager: SharedContextManager) -> None:
    few, many = (filled(manager, entries) for entries in SIZES)
    hundred = filled(manager, 100)
    with (
        connect(server.url()) as elsewhere,
        redis.Redis.from_url(server.url(), protocol=2) as client,
    ):
        pinned = pin_apart(server.pid)
        client.set("plain", "x" * 200)
        numbers = itertools.count()
        timings = measure(
            {
                GET: lambda: client.get("plain"),
                "get one entry": lambda: few.get("k00001"),
                "put one key": lambda: few.put("k00002", about_200_bytes(next(numbers))),
                f"update one key, {SIZES[0]} entries": updating(few, 1),
                f"update one key, {SIZES[1]:,} entries": updating(many, 1),
                "update one key that another wrote last": updating_in_turns(
                    few, elsewhere.workflow(few.workflow_id, agent_id="other_1")
                ),
                "replace one key": lambda: few.update({"k00003": next(numbers)}, merge_strategy="replace"),
                "update 100 keys": updating(hundred, 100),
            },
            rounds=ROUNDS,
        )
        circumstances = {"server": durability(client), "pinned": pinned, "rounds": str(ROUNDS)}
    path = write_report("store", circumstances, timings, GET)
    update, large = (timings[f"update one key, {entries:,} entries"].median for entries in SIZES)
    sys.stdout.write(f"\n{circumstances['server']}; {pinned}; {ROUNDS} interleaved rounds\n{table(timings, GET)}\n")
    sys.stdout.write(f"update / GET: {update / timings[GET].median:.2f} (at most {MOST_GETS_AN_UPDATE})\n")
    sys.stdout.write(f"update at {SIZES[1]:,} / at {SIZES[0]}: {large / update:.2f} (at most {MOST_OF_SIZE})\n")
    sys.stdout.write(f"update of 100 keys / of 1: {timings['update 100 keys'].median / update:.2f}\n{path}\n")
    assert update <= MOST_GETS_AN_UPDATE * timings[GET].median
    assert large <= MOST_OF_SIZE * update
