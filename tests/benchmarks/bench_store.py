"""What the store's calls cost, in round trips of the client library: one GET of 200 bytes by redis-py is the unit."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import redis

from ctxqueue import codec, connect
from ctxqueue.testing import EmbeddedServer
from tests.benchmarks.blob import changing_entries, changing_values
from tests.benchmarks.contents import SIZE, filled, key, value
from tests.benchmarks.interleaved import Prepared, measure, pinned_apart
from tests.benchmarks.report import Line, Report, Section, durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import SharedContextManager, WorkflowHandle

GET = "GET of 200 bytes by redis-py"
ROUNDS = 1_500
BLOB_ROUNDS = 300
BLOB_ENTRIES = 1_000
CLIENTS = "TCP, RESP2 with hiredis, for redis-py alone and for ctxqueue"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def manager(server: EmbeddedServer) -> Iterator[SharedContextManager]:
    with connect(server.url()) as manager:
        yield manager


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url(), protocol=2) as client:
        client.set("plain", "x" * SIZE)
        yield client


def circumstances(client: redis.Redis, manager: SharedContextManager, pinned: str, rounds: int) -> dict[str, str]:
    return {
        "server": durability(client),
        "clients": CLIENTS,
        "entries": f"{len(codec.pack(value(0)))} bytes of value; history {manager.terms.settings.history}, journal on",
        "pinning": pinned,
        "rounds": f"{rounds}, interleaved",
    }


def updating(wf: WorkflowHandle, keys: int) -> Callable[[], object]:
    """Updates of existing keys that this process wrote last."""
    numbers = itertools.count()
    names = [key(number) for number in range(keys)]
    return lambda: wf.update(dict.fromkeys(names, value(next(numbers))))


def updating_in_turns(one: WorkflowHandle, other: WorkflowHandle) -> Callable[[], object]:
    """Updates of a key that another process wrote last: this one must look first."""
    numbers = itertools.count()
    turns = itertools.cycle([one, other])
    return lambda: next(turns).update({key(5): value(next(numbers))})


def test_writes(server: EmbeddedServer, manager: SharedContextManager, client: redis.Redis, report: Report) -> None:
    few, many = filled(manager, 10), filled(manager, 10_000)
    hundred = filled(manager, 100)
    numbers = itertools.count()
    one, large, all_hundred = "update of one key, 10 entries", "the same at 10,000 entries", "update of 100 keys"
    with connect(server.url()) as elsewhere, pinned_apart(server.pid) as pinned:
        others = elsewhere.workflow(few.workflow_id, agent_id="other_1")
        timings = measure(
            {
                GET: lambda: client.get("plain"),
                "get of one entry": lambda: few.get(key(1)),
                "blind put of one key": lambda: few.put(key(2), value(next(numbers))),
                one: updating(few, 1),
                large: updating(many, 1),
                "the same of a key that another process wrote last": updating_in_turns(few, others),
                "update of one number": lambda: few.update({key(3): next(numbers)}),
                all_hundred: updating(hundred, 100),
            },
            rounds=ROUNDS,
        )
        found = circumstances(client, manager, pinned, ROUNDS)
    get, update = timings[GET].median, timings[one].median
    report.add(
        Section(
            "Writes",
            found,
            timings,
            (
                Line("`update` of one key / one GET", update / get, 4.0),
                Line("blind `put` / one GET", timings["blind put of one key"].median / get, 2.2),
                Line("update at 10,000 entries / at 10", timings[large].median / update, 1.15),
                Line("100-key `update` / 1-key", timings[all_hundred].median / update, 8.0),
            ),
            GET,
        )
    )


def test_views(server: EmbeddedServer, manager: SharedContextManager, client: redis.Redis, report: Report) -> None:
    wf, quiet = filled(manager, 1_000), filled(manager, 1_000, "quiet")
    numbers = itertools.count()
    with connect(server.url()) as elsewhere, pinned_apart(server.pid) as pinned:
        others = elsewhere.workflow(wf.workflow_id, agent_id="other_1")
        assert len(wf.view()) == len(quiet.view()) == 1_000
        timings = measure(
            {
                GET: lambda: client.get("plain"),
                "view of 1,000 entries, unchanged": quiet.view,
                "the same, one value read": lambda: quiet.view()[key(500)],
                "view of 1,000 entries, after one foreign change": Prepared(
                    lambda: others.put(key(7), value(next(numbers))), wf.view
                ),
                "the same, the value read": Prepared(
                    lambda: others.put(key(7), value(next(numbers))), lambda: wf.view()[key(7)]
                ),
            },
            rounds=ROUNDS,
        )
        found = circumstances(client, manager, pinned, ROUNDS)
        assert wf.view()[key(7)] == elsewhere.workflow(wf.workflow_id, agent_id="other_1")[key(7)]
    get = timings[GET].median
    report.add(
        Section(
            "Views",
            found,
            timings,
            (
                Line(
                    "cached view of 1,000 entries, unchanged / one GET",
                    timings["view of 1,000 entries, unchanged"].median / get,
                    1.6,
                ),
                Line(
                    "the same after one foreign change / one GET",
                    timings["view of 1,000 entries, after one foreign change"].median / get,
                    5.0,
                ),
            ),
            GET,
        )
    )


def test_the_blob_design(
    server: EmbeddedServer, manager: SharedContextManager, client: redis.Redis, report: Report
) -> None:
    wf = filled(manager, BLOB_ENTRIES)
    one, entries, values = (
        "update of one key",
        "GET, JSON, change, SETEX of entries with what is known of them",
        "the same of a bare mapping of values",
    )
    with pinned_apart(server.pid) as pinned:
        timings = measure(
            {
                one: updating(wf, 1),
                entries: changing_entries(client, BLOB_ENTRIES),
                values: changing_values(client, BLOB_ENTRIES),
            },
            rounds=BLOB_ROUNDS,
        )
        found = circumstances(client, manager, pinned, BLOB_ROUNDS)
    report.add(
        Section(
            "One workflow as one JSON text, 1,000 entries",
            found,
            timings,
            (
                Line(
                    "one-key update: ours / the blob design at 1,000 entries",
                    timings[one].median / timings[entries].median,
                    1 / 30,
                ),
            ),
            one,
        )
    )
