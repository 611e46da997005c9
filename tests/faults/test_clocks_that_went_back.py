"""A server whose clock was set back: what commits have shown of it holds on."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from ctxqueue import connect
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.testing.contract.base import WORKFLOW

if TYPE_CHECKING:
    from datetime import datetime

HOUR = 3_600
FURTHER = f"UPDATE ctxqueue_workflows SET clock_us = clock_us + {HOUR * 1_000_000}"  # noqa: S608 - our own name


def shown_an_hour_ahead(url: str) -> None:
    """Have the only workflow's commits shown a clock that is an hour ahead, as if it had been set back since."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            head = workflow_keys("default", WORKFLOW).m
            client.hset(head, "k", int(client.hget(head, "k") or 0) + HOUR * 1_000_000)
    elif url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute(FURTHER)
            database.commit()
    else:
        with psycopg.connect(url) as database:
            database.execute(FURTHER.encode())


@pytest.mark.parametrize("kind", ["redis", "sqlite", "postgres"])
def test_time_does_not_run_backwards(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    with connect(url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id="analyst_001")
        wf.open()
        wf.put("short", 1, ttl=HOUR / 2)
        first = wf.put("long", 1, ttl=2 * HOUR)
        shown_an_hour_ahead(url)
        assert [wf.get("short"), wf["long"]] == [None, 1]
        assert dict(wf.view()) == {"long": 1}
        instants: list[datetime] = [first.timestamp]
        for number in range(3):
            entry = wf.put("new", number, ttl=HOUR)
            assert entry.expires_at is not None
            assert (entry.expires_at - entry.timestamp).total_seconds() == HOUR
            instants.append(entry.timestamp)
        assert instants == sorted(instants)
        assert instants[1].timestamp() > time.time() + HOUR - 60
        assert manager.cleanup_expired_contexts().expired == 0  # due half an hour from now, by the server's clock
        assert [change.kind for change in wf.changes()] == ["put"] * 5
        wf.put("short", 2)
        assert [change.kind for change in wf.changes(from_revision=5)] == ["expired", "put"]
