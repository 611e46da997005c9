"""Watches in an event loop: they give way, may be cancelled while they wait, and take no connection from calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis

import ctxqueue
from ctxqueue.errors import InvalidInput, SyncInAsyncError, WorkflowNotFound
from ctxqueue.stores.redis.aio import MOST_CONNECTIONS
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ctxqueue.aio import AsyncWorkflowHandle

LONG = 60.0


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{request.node.name}"
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def run(url: str, body: Callable[[AsyncWorkflowHandle], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with ctxqueue.aconnect(url) as manager:
            handle = manager.workflow("q3-close", agent_id="analyst_001")
            await handle.open()
            await body(handle)

    asyncio.run(main())


async def revisions(watch: ctxqueue.AsyncWatch, number: int) -> list[int]:
    found: list[int] = []
    async for item in watch:
        found.append(item.revision)
        if len(found) == number:
            break
    return found


def test_changes_are_awaited_by_several_at_once(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        async with wf.watch() as first, wf.watch("k*", timeout=LONG) as second:
            seen = [asyncio.ensure_future(revisions(each, 10)) for each in (first, second)]
            for number in range(10):
                await wf.put(f"k{number}", number)
            assert await asyncio.gather(*seen) == [list(range(1, 11))] * 2
            assert first.cursor == await wf.etag
        assert await revisions(first, 1) == []
        assert await revisions(wf.watch(from_revision=7, timeout=LONG), 3) == [8, 9, 10]

    run(url, body)


def test_a_wait_that_is_cancelled_leaves_the_watch_where_it_was(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        async with wf.watch() as watch:
            for number in range(5):
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(watch), 0.02)
                await wf.put("k", number)
                assert (await anext(watch)).revision == number + 1

    run(url, body)


def test_a_watch_that_was_not_begun_has_no_cursor(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        await wf.put("k", 1)
        with pytest.raises(InvalidInput, match="not begun"):
            wf.watch().cursor  # noqa: B018 - it raises
        with pytest.raises(InvalidInput):
            wf.watch(from_revision="x")
        etag = await wf.etag
        assert wf.watch(from_revision=etag).cursor == etag

    run(url, body)


def test_a_workflow_that_is_not_there_is_not_watched(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        await wf.remove()
        with pytest.raises(WorkflowNotFound):
            await anext(wf.watch())

    run(url, body)


def test_more_wait_in_one_loop_than_there_are_connections_for_calls(redis_url: str) -> None:
    many = MOST_CONNECTIONS + 10

    def all_wait() -> bool:
        with redis.Redis.from_url(redis_url) as client:
            waiting: Any = client.info("clients")
        return bool(waiting["blocked_clients"] >= many and waiting["pubsub_clients"] >= many)

    async def body(wf: AsyncWorkflowHandle) -> None:
        watches = [wf.watch() for _ in range(many)]
        for watch in watches:
            await watch.__aenter__()
        following = [asyncio.ensure_future(revisions(watch, 1)) for watch in watches]
        waiting = [asyncio.ensure_future(wf.wait_for("k", timeout=LONG)) for _ in range(many)]
        await asyncio.to_thread(wait_until, all_wait, "all of them wait")
        await wf.put("k", 1)
        assert await asyncio.gather(*following) == [[1]] * many
        assert [view["k"] for view in await asyncio.gather(*waiting)] == [1] * many

    run(redis_url, body)


def test_a_blocking_watch_keeps_out_of_event_loops(url: str) -> None:
    with ctxqueue.connect(url) as manager:
        wf = manager.workflow("q3-close", agent_id="analyst_001")
        wf.open()
        watch = wf.watch()

        async def inside() -> None:
            with pytest.raises(SyncInAsyncError):
                wf.watch()
            with pytest.raises(SyncInAsyncError):
                next(watch)

        asyncio.run(inside())
        wf.put("k", 1)
        assert next(watch).revision == 1
