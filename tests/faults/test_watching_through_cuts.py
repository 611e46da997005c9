"""Watchers whose connections are cut while others write: each revision once, in order, or an error that says so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ctxqueue import aconnect, connect
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import RevisionTrimmed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ctxqueue.testing import FaultProxy

WRITERS = 4
LONG = 60.0


class Seen(list[int]):
    """The revisions that a watcher was told of; ``begun`` once it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()


def watched(url: str, seen: Seen, commits: int) -> None:
    """Watch until the last revision."""
    with connect(url) as manager, manager.workflow("cut", agent_id="reader_1").watch(timeout=LONG) as watch:
        seen.begun.set()
        for change in watch:
            seen.append(change.revision)
            if change.revision == commits:
                break


def awaited(url: str, seen: Seen, commits: int) -> None:
    """Do the same in an event loop."""

    async def watch() -> None:
        async with (
            await aconnect(url) as manager,
            manager.workflow("cut", agent_id="reader_1").watch(timeout=LONG) as watch,
        ):
            seen.begun.set()
            async for change in watch:
                seen.append(change.revision)
                if change.revision == commits:
                    break

    asyncio.run(watch())


Watcher = Callable[[str, Seen, int], None]
FACES = pytest.mark.parametrize("watcher", [watched, awaited])


def see_each_once(watcher: Watcher, proxy: FaultProxy, redis_url: str, commits: int, cuts: int) -> None:
    """Cut a watcher off in the middle of each of so many batches of commits, once it is back from the last time."""
    seen, batch = Seen(), commits // cuts

    def write(number: int) -> None:
        for _ in range(batch // WRITERS):
            manager.workflow("cut", agent_id=f"writer_{number}").put(f"k{number}", 1)

    with (
        SharedContextManager(redis_url, {"log_limit": 25_000}) as manager,
        ThreadPoolExecutor(1) as watching,
        ThreadPoolExecutor(WRITERS) as writing,
    ):
        manager.workflow("cut").open()
        watches = watching.submit(watcher, proxy.url, seen, commits)
        assert seen.begun.wait(LONG)
        for cut in range(cuts):
            writes = [writing.submit(write, number) for number in range(WRITERS)]
            wait_until(lambda: len(seen) > cut * batch or watches.done(), "the watcher is there again")  # noqa: B023
            (proxy.refuse, proxy.hang)[cut % 2]()
            proxy.reset_all()
            for each in writes:
                each.result()
            proxy.resume()
        watches.result(LONG)
    assert seen == list(range(1, commits + 1))
    assert proxy.connections >= cuts


@FACES
def test_a_watcher_that_is_cut_off_again_and_again_sees_each_revision_once(
    proxy: FaultProxy, redis_url: str, watcher: Watcher
) -> None:
    see_each_once(watcher, proxy, redis_url, commits=800, cuts=8)


@pytest.mark.long
@pytest.mark.timeout(900)
@FACES
def test_a_watcher_that_is_cut_off_fifty_times_sees_each_of_twenty_thousand_revisions_once(
    proxy: FaultProxy, redis_url: str, watcher: Watcher
) -> None:
    see_each_once(watcher, proxy, redis_url, commits=20_000, cuts=50)


def test_a_cut_that_is_longer_than_the_log_is_told(proxy: FaultProxy, redis_url: str) -> None:
    with connect(redis_url) as direct, connect(proxy.url) as manager:
        wf = direct.workflow("cut", agent_id="writer_1")
        wf.open()
        with manager.workflow("cut", agent_id="reader_1").watch(timeout=LONG) as watch:
            wf.put("k", 0)
            assert next(watch).revision == 1
            proxy.refuse()
            proxy.reset_all()
            for number in range(1_200):  # a tenth more than the limit may stand
                wf.put("k", number)
            proxy.resume()
            with pytest.raises(RevisionTrimmed, match="1 is gone"):
                next(watch)
            reloaded = manager.workflow("cut", agent_id="reader_1").view().revision
        assert reloaded == 1_201
        assert list(wf.watch(from_revision=reloaded, timeout=0.05)) == []


def test_a_watcher_asks_little_while_nothing_comes_and_two_commands_for_what_does(
    proxy: FaultProxy, redis_url: str
) -> None:
    with connect(redis_url) as direct, connect(proxy.url) as manager, ThreadPoolExecutor(1) as threads:
        wf = direct.workflow("cut", agent_id="writer_1")
        wf.open()
        watch = manager.workflow("cut", agent_id="reader_1").watch()
        before = proxy.requests
        waiting = threads.submit(next, watch)
        threading.Event().wait(3)
        begun = time.monotonic()
        wf.put("a", 1)
        assert waiting.result().revision == 1
        assert time.monotonic() - begun < 1, "it is called, and does not look by and by"
        assert proxy.requests - before <= 6  # a look, a wait, a look, a wait, a look; the connection names itself
        before = proxy.requests
        wf.put("b", 1)
        assert next(watch).revision == 2
        assert proxy.requests - before == 2


def test_a_watcher_that_waits_learns_that_its_workflow_was_closed(redis_url: str) -> None:
    with connect(redis_url) as manager, ThreadPoolExecutor(1) as threads:
        wf = manager.workflow("cut", agent_id="reader_1")
        wf.open()
        waiting = threads.submit(list, wf.watch())
        threading.Event().wait(0.2)
        wf.close()
        assert waiting.result(LONG) == []
