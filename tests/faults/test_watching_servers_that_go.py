"""Watches whose server goes and comes back, or is replaced."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ctxqueue import aconnect, connect
from ctxqueue.errors import HistoryDiverged, WorkflowNotFound
from ctxqueue.testing import EmbeddedSentinels, EmbeddedServer
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF, ALL = 5, 10
"""Commits before the server goes, and in all."""


class Watchers:
    """One that blocks and one in an event loop; each notes the revisions that it is told of."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: tuple[list[int], list[int]] = ([], [])
        self.begun = threading.Barrier(3, timeout=SECONDS)

    def block(self) -> None:
        with connect(self._url) as manager, manager.workflow("w", agent_id="reader_1").watch(timeout=SECONDS) as watch:
            self.begun.wait()
            for item in watch:
                self.seen[0].append(item.revision)
                if item.revision == ALL:
                    break

    def in_a_loop(self) -> None:
        async def look() -> None:
            async with (
                await aconnect(self._url) as manager,
                manager.workflow("w", agent_id="reader_2").watch(timeout=SECONDS) as watch,
            ):
                self.begun.wait()
                async for item in watch:
                    self.seen[1].append(item.revision)
                    if item.revision == ALL:
                        break

        asyncio.run(look())


@contextmanager
def watchers_see_all(url: str) -> Iterator[None]:
    """Make half of the commits, carry out the block, make the rest: each watcher sees each once and in order."""
    watchers = Watchers(url)
    with connect(url) as manager, ThreadPoolExecutor(2) as threads:
        wf = manager.workflow("w", agent_id="writer_1")
        wf.open()
        looking = [threads.submit(watchers.block), threads.submit(watchers.in_a_loop)]
        watchers.begun.wait()
        for number in range(HALF):
            wf.put("k", number)
        wait_until(lambda: [len(seen) for seen in watchers.seen] == [HALF, HALF], "both have seen what was there")
        yield
        for number in range(HALF, ALL):
            wf.put("k", number)
        for each in looking:
            each.result(SECONDS)
    assert watchers.seen == (list(range(1, ALL + 1)), list(range(1, ALL + 1)))


def test_a_server_that_is_killed_and_comes_back_with_what_it_had() -> None:
    with (
        EmbeddedServer(appendonly=True, config={"appendfsync": "always"}) as server,
        watchers_see_all(server.url()),
    ):
        server.kill()
        server.restart()


@pytest.mark.long
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_master_that_is_replaced(fault: str) -> None:
    with EmbeddedSentinels(down_after=3.0) as sentinels:
        master = sentinels.master()
        with watchers_see_all(sentinels.url()):
            sentinels.wait_until_whole()  # the replica has what was told of
            getattr(master, fault)()
            wait_until(lambda: sentinels.master() is not master, "a replica takes over")
        if fault == "pause":
            master.resume()


def test_a_server_that_comes_back_empty_is_told_of() -> None:
    with EmbeddedServer() as server, connect(server.url()) as manager:
        wf = manager.workflow("w", agent_id="writer_1")
        wf.open()
        watch = manager.workflow("w", agent_id="reader_1").watch(timeout=SECONDS)
        wf.put("k", 1)
        assert next(watch).revision == 1
        server.kill()
        server.restart()
        with pytest.raises(WorkflowNotFound):
            next(watch)
        wf.open()
        wf.put("k", 1)
        with pytest.raises(HistoryDiverged):
            next(watch)
        with pytest.raises(HistoryDiverged):
            manager.workflow("w", agent_id="reader_1").watch(from_revision=watch.cursor, timeout=SECONDS).__next__()
