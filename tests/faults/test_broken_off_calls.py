"""A call that is broken off between two steps of it, as by a soft time limit, leaves nothing to the next one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hiredis import pack_command
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from ctxqueue import connect
from ctxqueue.stores.redis import connection
from ctxqueue.testing import EmbeddedServer

MEANWHILE = 0.2
"""Seconds in which the server does not answer, and the next call is under way."""


class Limit(Exception):
    """As Celery's soft time limit: a signal's handler raises it, wherever the process is."""


def reached(_wire: object) -> None:
    raise Limit


def test_no_number_is_written_where_a_limit_would_crash_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def packed(command: Any) -> bytes:
        given.extend(map(type, command))
        words: bytes = pack_command(command)
        return words

    monkeypatch.setattr(connection, "pack_command", packed)
    with EmbeddedServer() as server, connect(server.url()) as manager:
        wf = manager.workflow("w", agent_id="a_1")
        wf.open()
        wf.put("k", 1)
        wf.update({"k": 2}, merge_strategy="increment")
        assert wf["k"] == 3
    assert set(given) == {bytes, str}


def test_a_call_that_is_broken_off_leaves_its_reply_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer() as server:
        pool = connection.pool(ConnectionPool.from_url, server.url(), Retry(NoBackoff(), 0))
        assert connection.exchange(pool, [("ECHO", "before")]) == [b"before"]
        server.pause()
        with monkeypatch.context() as limited:
            limited.setattr(connection, "_reply", reached)
            with pytest.raises(Limit):
                connection.exchange(pool, [("ECHO", "broken off")])
        later = threading.Timer(MEANWHILE, server.resume)
        later.start()
        try:
            assert connection.exchange(pool, [("ECHO", "next")]) == [b"next"]
        finally:
            later.join()
            pool.disconnect()
