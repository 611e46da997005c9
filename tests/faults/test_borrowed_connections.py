"""What a call borrows its connection from: it comes back as it was lent, or a fresh one takes its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ctxqueue.stores.redis import connection
from ctxqueue.stores.redis.wires import Wires
from ctxqueue.testing import EmbeddedServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ECHO: list[tuple[str | bytes | int, ...]] = [("ECHO", "said")]


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def wires(server: EmbeddedServer) -> Iterator[Wires]:
    wires = connection.pool(Wires.from_url, server.url(), Retry(NoBackoff(), 0))
    yield wires
    wires.disconnect()


def clients(server: EmbeddedServer) -> list[str]:
    with redis.Redis.from_url(server.url()) as client:
        own = str(client.client_id())
        return [each["id"] for each in client.client_list() if each["id"] != own]


def test_the_same_connection_goes_out_again(server: EmbeddedServer, wires: Wires) -> None:
    for _ in range(3):
        assert connection.exchange(wires, ECHO) == [b"said"]
    assert len(clients(server)) == 1
    first, second = wires.get_connection(), wires.get_connection()
    assert first is not second
    wires.release(second)
    wires.release(first)
    assert wires.get_connection() is first, "the one that was used last, so that the others end idle"


def test_one_that_the_server_has_closed_is_not_lent(server: EmbeddedServer, wires: Wires) -> None:
    assert connection.exchange(wires, ECHO) == [b"said"]
    (held,) = clients(server)
    with redis.Redis.from_url(server.url()) as client:
        client.client_kill_filter(_id=held)
    assert connection.exchange(wires, ECHO) == [b"said"], "at the first try"
    assert clients(server) != [held]


def test_one_that_has_something_to_read_is_not_lent(wires: Wires) -> None:
    wire = wires.get_connection()
    wire.send_command("ECHO", "of another call")
    wires.release(wire)
    wait_until(wire.can_read, "the reply that nobody has read is there")
    assert connection.exchange(wires, ECHO) == [b"said"]


def test_what_rests_is_closed_with_the_pool_and_what_is_lent_is_not(server: EmbeddedServer, wires: Wires) -> None:
    lent, resting = wires.get_connection(), wires.get_connection()
    for wire in (lent, resting):
        wire.send_command("PING")
        assert wire.read_response() == b"PONG"
    wires.release(resting)
    wires.disconnect(inuse_connections=False)
    wait_until(lambda: len(clients(server)) == 1, "the resting one is closed")
    lent.send_command("PING")
    assert lent.read_response() == b"PONG"
    wires.release(lent)
    wires.disconnect()
    wait_until(lambda: not clients(server), "both are closed")


def test_a_forked_process_borrows_none_of_its_parents(wires: Wires) -> None:
    assert connection.exchange(wires, ECHO) == [b"said"]
    resting = wires.get_connection()
    wires.release(resting)
    child = os.fork()
    if child == 0:
        own = wires.get_connection()
        foreign = own is resting or own.pid != os.getpid()
        wires.release(resting)
        foreign = foreign or wires.get_connection() is resting
        os._exit(1 if foreign else 0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child found only what is its own"
    assert connection.exchange(wires, ECHO) == [b"said"]


def test_a_server_that_is_away_is_told_of_and_one_that_comes_back_found(server: EmbeddedServer, wires: Wires) -> None:
    assert connection.exchange(wires, ECHO) == [b"said"]
    server.stop()
    with pytest.raises(redis.exceptions.ConnectionError):
        connection.exchange(wires, ECHO)
    server.start()
    assert connection.exchange(wires, ECHO) == [b"said"]
