"""What a caller that waits asks of the server: the same few commands however long it waits, or the same look."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from ctxqueue import aconnect, all_of, connect
from ctxqueue.stores.sql.aio import AsyncSqlStore
from ctxqueue.stores.sql.store import SqlStore
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

SHORT, LONG = 0.2, 3.0
"""Seconds that are waited for: one of them longer than a socket of ours waits for an answer."""
MOST = 5
FIRST_CONTACT = {"CLIENT", "SELECT", "HELLO", "INFO", "MULTI", "HSETNX", "HGETALL", "EXEC"}
"""What a new connection says first, and what a manager asks of a server before all else."""
END = "all of it"


@contextmanager
def commands(client: redis.Redis) -> Iterator[list[str]]:
    """The commands that are sent inside the block by whoever has connected since; it is filled at the block's end."""
    known = {each["addr"] for each in client.client_list()}
    database = client.connection_pool.connection_kwargs["db"]
    seen: list[str] = []
    begun = threading.Event()

    def watch() -> None:
        with client.monitor() as monitor:
            begun.set()
            for each in monitor.listen():
                name, _, words = str(each["command"]).partition(" ")
                if words == END:
                    return
                sender = f"{each['client_address']}:{each['client_port']}"
                if each["client_type"] != "lua" and sender not in known and each["db"] == database:
                    seen.append(name.upper())

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        assert begun.wait(SECONDS)
        yield seen
        client.echo(END)
        watching.result(SECONDS)
    seen[:] = [name for name in seen if name not in FIRST_CONTACT]


def contacted(url: str) -> None:
    """What managers of both faces ask before all else, and one read each."""
    with connect(url) as manager:
        manager.workflow("w", agent_id="reader_1").list()

    async def read() -> None:
        async with await aconnect(url) as manager:
            await manager.workflow("w", agent_id="reader_1").list()

    asyncio.run(read())


def waited(url: str, keys: tuple[str, str]) -> None:
    with connect(url) as manager:
        manager.workflow("w", agent_id="reader_1").wait_for(all_of(*keys), timeout=SECONDS)


def awaited(url: str, keys: tuple[str, str]) -> None:
    async def wait() -> None:
        async with await aconnect(url) as manager:
            await manager.workflow("w", agent_id="reader_1").wait_for(all_of(*keys), timeout=SECONDS)

    asyncio.run(wait())


def test_five_commands_however_long_it_is(redis_url: str) -> None:
    taken: dict[float, Counter[str]] = {}
    with redis.Redis.from_url(redis_url) as client, connect(redis_url) as manager:
        client.ping()
        wf = manager.workflow("w", agent_id="writer_1")
        wf.open()
        with commands(client) as first:
            contacted(redis_url)
        for seconds in (SHORT, LONG):
            keys = (f"first-{seconds}", f"last-{seconds}")
            with commands(client) as seen, ThreadPoolExecutor(2) as threads:
                waits = [threads.submit(wait, redis_url, keys) for wait in (waited, awaited)]
                wf.put(keys[0], 1)
                last = threading.Timer(seconds, wf.put, (keys[1], 1))
                last.start()
                for each in waits:
                    each.result(SECONDS)
                last.join()
            taken[seconds] = Counter(seen)
    assert taken[SHORT] == taken[LONG]
    assert taken[LONG].total() - (len(first) - 2) <= 2 * MOST


def test_where_nobody_is_called_it_looks_and_is_registered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()
    stores: tuple[type[Any], ...] = (SqlStore, AsyncSqlStore)
    for store in stores:

        def noted(self: Any, effect: Any, carried_out: Any = store.perform) -> Any:
            done[type(effect).__name__] += 1
            return carried_out(self, effect)

        monkeypatch.setattr(store, "perform", noted)
    url = f"sqlite:///{tmp_path}/waits.db"
    with connect(url) as manager, ThreadPoolExecutor(2) as threads:
        wf = manager.workflow("w", agent_id="writer_1")
        wf.open()
        waits = [threads.submit(wait, url, ("first", "last")) for wait in (waited, awaited)]
        wait_until(lambda: done["Register"] == len(waits), "both are registered")
        looks = done["Load"]
        wait_until(lambda: done["Load"] >= looks + 6, "they have looked again and again")
        wf.update({"first": 1, "last": 2})
        for each in waits:
            each.result(SECONDS)
    assert done["Register"] == len(waits)
    assert done["EndTrigger"] == 0
