"""The failing wire, before a real server."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ctxqueue.errors import ConfigurationError
from ctxqueue.testing import EmbeddedServer, FaultProxy
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_TIMEOUT = 0.3
"""Seconds."""


@pytest.fixture
def direct(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[redis.Redis]:
    """A client that goes through the proxy and tries nothing again."""
    with redis.Redis.from_url(proxy.url, retry=None, socket_timeout=SECONDS) as client:
        yield client


@pytest.fixture
def impatient(proxy: FaultProxy) -> Iterator[redis.Redis]:
    """One that goes through the proxy too, and waits for no reply."""
    with redis.Redis.from_url(proxy.url, retry=None, socket_timeout=READ_TIMEOUT) as client:
        yield client


@pytest.fixture
def wire(proxy: FaultProxy, redis_url: str) -> Iterator[socket.socket]:
    """A bare connection through the proxy, to the test's database."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=SECONDS) as wire:
        wire.sendall(f"SELECT {redis_url.rpartition('/')[2]}\r\n".encode())
        assert wire.recv(100) == b"+OK\r\n"
        yield wire


def ask_in_vain(wire: socket.socket, question: bytes) -> None:
    wire.sendall(question)
    wire.settimeout(READ_TIMEOUT)
    with pytest.raises(TimeoutError):
        wire.recv(100)


def test_it_passes_everything_on(proxy: FaultProxy, client: redis.Redis) -> None:
    large = bytes(range(256)) * 20_000
    assert client.set("large", large) is True
    assert client.get("large") == large
    with client.pipeline() as pipeline:
        for number in range(1_000):
            pipeline.rpush("list", number)
        assert pipeline.execute() == list(range(1, 1_001))
    assert proxy.connections == 1
    assert proxy.requests >= 1_004
    assert proxy.lost == 0


def test_many_clients_at_once(proxy: FaultProxy, direct: redis.Redis) -> None:
    def add() -> None:
        with redis.Redis.from_url(proxy.url) as client:
            for _ in range(100):
                client.incr("counter")

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert direct.get("counter") == b"800"
    assert proxy.connections == 8


def test_messages_that_nobody_asked_for_arrive(client: redis.Redis, direct: redis.Redis) -> None:
    with client.pubsub() as listener:
        listener.subscribe("news")
        assert listener.get_message(timeout=SECONDS) is not None
        direct.publish("news", "one")
        message = listener.get_message(timeout=SECONDS)
    assert message is not None
    assert message["data"] == b"one"


def test_a_lost_reply_was_applied(proxy: FaultProxy, client: redis.Redis, direct: redis.Redis) -> None:
    client.ping()
    proxy.lose_replies()
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert direct.get("counter") == b"1"
    assert proxy.lost == 1
    assert client.incr("counter") == 2


def test_as_many_replies_are_lost_as_said(proxy: FaultProxy, client: redis.Redis, direct: redis.Redis) -> None:
    proxy.lose_replies(3, matching=b"counter")
    for lost in range(1, 4):
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
        assert (proxy.lost, direct.get("counter")) == (lost, str(lost).encode())
    assert client.incr("counter") == 4


def test_a_client_that_tries_again_applies_it_twice(proxy: FaultProxy, direct: redis.Redis) -> None:
    with redis.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 1)) as trusting:
        trusting.ping()
        proxy.lose_replies(matching=b"INCR")
        assert trusting.incr("counter") == 2
    assert direct.get("counter") == b"2"


def test_only_matching_replies_are_lost(proxy: FaultProxy, client: redis.Redis, direct: redis.Redis) -> None:
    proxy.lose_replies(matching=b"EVALSHA")
    assert client.set("k", "v") is True
    sha = client.script_load("return redis.call('INCR', KEYS[1])")
    with pytest.raises(redis.ConnectionError):
        client.evalsha(sha, 1, "counter")
    assert direct.get("counter") == b"1"
    assert client.evalsha(sha, 1, "counter") == 2


def test_a_large_request_is_applied_before_its_reply_is_lost(
    proxy: FaultProxy, client: redis.Redis, direct: redis.Redis
) -> None:
    proxy.lose_replies(matching=b"large")
    with pytest.raises(redis.ConnectionError):
        client.set("large", b"x" * 5_000_000)
    assert direct.strlen("large") == 5_000_000


def increment_both(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.incr("a")
        pipeline.incr("b")
        pipeline.execute()


def test_a_transaction_is_applied_whole_when_the_reply_to_exec_is_lost(
    proxy: FaultProxy, client: redis.Redis, direct: redis.Redis
) -> None:
    proxy.lose_replies(matching=b"EXEC")
    with pytest.raises(redis.ConnectionError):
        increment_both(client)
    assert direct.mget("a", "b") == [b"1", b"1"]


def test_a_blocking_request_is_awaited(proxy: FaultProxy, direct: redis.Redis) -> None:
    outcome: list[Exception] = []

    def wait_for_item() -> None:
        with redis.Redis.from_url(proxy.url, retry=None, socket_timeout=None) as client:
            try:
                client.blpop(["queue"])
            except redis.ConnectionError as error:
                outcome.append(error)

    proxy.lose_replies(matching=b"BLPOP")
    waiter = threading.Thread(target=wait_for_item)
    waiter.start()
    wait_until(lambda: direct.info("clients")["blocked_clients"] == 1, "a client waits for an item")
    direct.rpush("queue", "item")
    waiter.join(SECONDS)
    assert len(outcome) == 1
    assert direct.llen("queue") == 0


def test_a_delay_holds_each_request_back(proxy: FaultProxy, client: redis.Redis, impatient: redis.Redis) -> None:
    client.ping()
    proxy.delay(0.1)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.1
    proxy.delay(READ_TIMEOUT * 2)
    with pytest.raises(redis.TimeoutError):
        impatient.ping()
    proxy.resume()
    assert client.ping()


def test_what_was_sent_while_it_hung_arrives_afterwards(
    proxy: FaultProxy, client: redis.Redis, wire: socket.socket, direct: redis.Redis
) -> None:
    proxy.hang()
    ask_in_vain(wire, b"INCR counter\r\n")
    wire.close()
    assert direct.get("counter") is None
    proxy.resume()
    wait_until(lambda: direct.get("counter") == b"1", "the request that hung is applied")
    assert client.incr("counter") == 2


def test_a_new_connection_hangs_too(proxy: FaultProxy, client: redis.Redis, impatient: redis.Redis) -> None:
    proxy.hang()
    with pytest.raises(redis.TimeoutError):
        impatient.ping()
    proxy.resume()
    assert client.ping()


def test_a_reset_is_seen_by_a_client_that_waits(proxy: FaultProxy, wire: socket.socket) -> None:
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        wire.recv(100)


def test_a_reset_while_it_hangs(
    proxy: FaultProxy, client: redis.Redis, wire: socket.socket, direct: redis.Redis
) -> None:
    proxy.hang()
    ask_in_vain(wire, b"INCR counter\r\n")
    proxy.reset_all()
    proxy.resume()
    assert client.ping()
    assert direct.get("counter") is None


def test_refusal_is_of_new_connections_only_until_it_is_over(proxy: FaultProxy, client: redis.Redis) -> None:
    client.ping()
    proxy.refuse()
    assert client.ping()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    proxy.reset_all()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    proxy.resume()
    assert client.ping()


def test_when_the_server_dies_so_does_the_connection() -> None:
    with (
        EmbeddedServer() as server,
        FaultProxy(server.url()) as proxy,
        redis.Redis.from_url(proxy.url, retry=None) as client,
    ):
        client.ping()
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert client.ping()


def test_the_url_keeps_password_and_database() -> None:
    with EmbeddedServer(password="p@ss/word") as server, FaultProxy(server.url(db=2)) as proxy:
        assert proxy.url == server.url(db=2).replace(str(server.port), str(proxy.port))
        with redis.Redis.from_url(proxy.url) as client:
            assert client.ping()


def test_a_proxy_needs_host_and_port() -> None:
    with pytest.raises(ConfigurationError, match="redis://host:port"):
        FaultProxy("unix:///tmp/socket")


def test_closing_twice_resets_once(redis_url: str) -> None:
    proxy = FaultProxy(redis_url)
    with redis.Redis.from_url(proxy.url, retry=None) as client:
        client.ping()
        proxy.close()
        proxy.close()
        with pytest.raises(redis.ConnectionError):
            client.ping()
