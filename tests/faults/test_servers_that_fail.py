"""Servers that are away, refuse us, are full, or are set up dangerously: each its typed error, nothing half written."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ctxqueue import SharedContextManager, aconnect, connect
from ctxqueue.errors import (
    ConfigurationError,
    RecordTooNew,
    StoreAuthError,
    StoreReadOnly,
    StoreUnavailable,
    UnsafeServer,
)
from ctxqueue.models import Put
from ctxqueue.stores.redis import aio, connection, scripts
from ctxqueue.testing import EmbeddedServer, FaultProxy
from tests.contract.keyspace import objections
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ctxqueue.context import WorkflowHandle

FIRST_CONTACT = 20.0
"""Seconds in which connect() gives up."""


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server of the test's own, that keeps what it was told over a crash."""
    with EmbeddedServer(appendonly=True, config={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def wf(server: EmbeddedServer) -> Iterator[WorkflowHandle]:
    with connect(server.url()) as manager:
        handle = manager.workflow("q3-close", agent_id="analyst_001")
        handle.open()
        handle.put("k", {"a": 1})
        yield handle


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_nobody_there(proxy: FaultProxy) -> None:
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=rf"127.0.0.1:{proxy.port} does not answer .*is the URL right"):
        connect(proxy.url)
    assert time.monotonic() - began < FIRST_CONTACT


def test_no_such_host() -> None:
    with pytest.raises(StoreUnavailable, match=r"nowhere\.invalid"):
        connect("redis://nowhere.invalid:6379/0")


def test_a_socket_that_is_not_there() -> None:
    with pytest.raises(StoreUnavailable, match=r"/nowhere/redis.sock"):
        connect("unix:///nowhere/redis.sock")


def test_a_handle_without_connect_finds_out_at_its_first_call(proxy: FaultProxy) -> None:
    proxy.refuse()
    manager = SharedContextManager(proxy.url)
    handle = manager.workflow("q3-close", agent_id="analyst_001")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        handle.put("k", 1)
    assert time.monotonic() - began < FIRST_CONTACT
    proxy.resume()
    handle.open()
    assert handle.put("k", 1).version == 1
    manager.close()


def test_a_wrong_password_a_missing_one_and_none_asked_for() -> None:
    with EmbeddedServer(password="right") as server:
        for url in (server.url().replace("right", "wrong"), server.url().replace(":right@", "")):
            with pytest.raises(StoreAuthError, match=r"refuses the credentials .*check user and password") as caught:
                connect(url)
            assert "wrong" not in str(caught.value)
        with connect(server.url()) as manager:
            assert manager.workflow("w").open().revision == 0


def test_a_password_never_shows_in_an_error() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        connect("redis://user:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis//host", "http://host", "", "mem", "mysql://h/x"])
def test_a_url_that_names_no_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTXQUEUE_BACKEND_URL", raising=False)
    with pytest.raises(ConfigurationError):
        connect(url)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_server_that_may_evict_our_keys_is_refused(policy: str) -> None:
    with EmbeddedServer(config={"maxmemory-policy": policy}) as server, redis.Redis.from_url(server.url()) as client:
        with pytest.raises(UnsafeServer, match=rf"{policy}.*CONFIG SET maxmemory-policy noeviction"):
            connect(server.url())
        assert client.dbsize() == 0
        client.config_set("maxmemory-policy", "noeviction")
        connect(server.url()).close()


def test_a_namespace_of_a_newer_version_is_left_alone(redis_url: str) -> None:
    connect(redis_url).close()
    with redis.Redis.from_url(redis_url) as client:
        client.hset("{default}:metadata", "layout", 99)
        with pytest.raises(RecordTooNew, match=r"layout 99.*upgrade"):
            connect(redis_url)
        client.hset("{default}:metadata", mapping={"layout": 1, "shards": 7})
        with pytest.raises(ConfigurationError, match="7 shards"):
            connect(redis_url)


def test_a_full_server_takes_nothing_and_keeps_what_it_has(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    wf.put("large", "x" * 100_000)
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("maxmemory", "1")
        before = {key: client.dump(key) for key in client.scan_iter()}
        for call in (
            lambda: wf.put("new", 1),
            lambda: wf.put("k", 1, ttl=60),
            lambda: wf.update({"k": {"b": 2}, "l": [1]}),
            lambda: wf.update({"l": [1]}, merge_strategy="append"),
            lambda: wf.create("new", 1, operation_id="op"),
        ):
            with pytest.raises(StoreReadOnly, match=r"out of memory.*nothing was written; raise maxmemory"):
                call()
            assert {key: client.dump(key) for key in client.scan_iter()} == before
        assert dict(wf.view()) == {"k": {"a": 1}, "large": "x" * 100_000}
        assert wf.delete("large") is True
        client.config_set("maxmemory", "0")
        assert wf.update({"k": {"b": 2}}).attempts == 1
        assert objections(client) == []
    assert dict(wf.view()) == {"k": {"a": 1, "b": 2}}


def test_a_full_server_is_still_swept(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    wf.put("soon", 1, ttl=0.02)
    with connect(server.url()) as manager, redis.Redis.from_url(server.url()) as client:
        client.config_set("maxmemory", "1")
        wait_until(lambda: wf.get("soon") is None, "it has expired")
        assert manager.cleanup_expired_contexts().expired == 1
        client.config_set("maxmemory", "0")
        assert objections(client) == []


def test_a_replica_takes_no_writes(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreReadOnly, match="read-only replica"):
            wf.put("k", 1)
        assert wf["k"] == {"a": 1}
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert wf.put("k", 1).version == 2


def test_calls_go_on_when_a_killed_server_is_back(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    results: list[int] = []

    def write() -> None:
        for number in range(300):
            wf.update({"l": [number]}, merge_strategy="append")
            results.append(number)

    writer = in_background(write)
    wait_until(lambda: len(results) >= 3, "some updates are done")
    server.kill()
    server.restart()
    writer.join(SECONDS)
    assert results == list(range(300))
    assert wf["l"] == results


def test_a_server_that_lost_its_scripts_gets_them_again(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url()) as client, connect(server.url()) as manager:
        for call in (
            lambda: wf.put("k", 1),
            lambda: wf["k"],
            wf.list,
            lambda: wf.update({"k": 2, "l": [1]}),
            lambda: wf.update({"s": Put(1, ttl=60)}),
            lambda: wf.delete("l"),
            manager.cleanup_expired_contexts,
            lambda: manager.workflow("other").open(),
        ):
            client.script_flush()
            call()
    assert wf["k"] == 2


def test_a_server_that_knows_no_scripts_gets_all_in_one_exchange(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanges: list[int] = []
    exchange, sent = connection.exchange, aio._sent  # noqa: SLF001

    def counted(pool: Any, commands: list[Any]) -> list[Any]:
        exchanges.append(len(commands))
        return exchange(pool, commands)

    async def counted_awaited(client: Any, requests: Sequence[Any]) -> list[Any]:
        exchanges.append(len(requests))
        return await sent(client, requests)

    async def look() -> None:
        async with aconnect(redis_url) as manager:
            flush()
            assert await manager.workflow("w").get("k") is None

    def flush() -> None:
        exchanges.clear()
        client.script_flush()

    monkeypatch.setattr(connection, "exchange", counted)
    monkeypatch.setattr(aio, "_sent", counted_awaited)
    first = [1, len(scripts.ALL), 1]
    with redis.Redis.from_url(redis_url) as client, connect(redis_url) as manager:
        manager.workflow("w").open()
        flush()
        assert manager.workflow("w").get("k") is None
        assert exchanges[:3] == first
        asyncio.run(look())
        assert exchanges[:3] == first


def test_calls_wait_out_a_pause(wf: WorkflowHandle, server: EmbeddedServer) -> None:
    server.pause()
    done: list[int] = []
    writer = in_background(lambda: done.append(wf.update({"k": {"b": 2}}).versions["k"]))
    writer.join(0.5)
    assert done == []
    server.resume()
    writer.join(SECONDS)
    assert done == [2]
    assert wf["k"] == {"a": 1, "b": 2}


def test_one_who_gives_up_says_so_and_the_next_call_is_a_new_one(proxy: FaultProxy) -> None:
    with connect(proxy.url) as manager:
        handle = manager.workflow("q3-close", agent_id="analyst_001")
        handle.open()
        handle.put("k", [0])
        proxy.refuse()
        proxy.reset_all()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            handle.update({"k": [1]}, merge_strategy="append")
        assert time.monotonic() - began < SECONDS
        proxy.resume()
        assert handle.update({"k": [2]}, merge_strategy="append").replayed is False
        assert handle["k"] == [0, 2]
