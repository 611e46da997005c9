"""``ctx.aio``: the app's store for event loops, which go on while something is published."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from ctxqueue.testing import EmbeddedServer
from tests.integration.apps import coroutines
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = 20
HEARTBEAT = 0.01
"""Seconds."""


@pytest.fixture
def queue() -> ctxqueue.ContextQueue:
    return coroutines.build(
        {
            "task_always_eager": True,
            "task_eager_propagates": True,
            "result_backend": "cache+memory://",
            "ctxqueue_backend_url": f"memory://{uuid.uuid4()}",
            "sample_url": None,
        }
    )


@pytest.fixture
def paused() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        server.pause()
        yield server
        server.resume()


def test_it_is_the_same_store_also_in_memory(queue: ctxqueue.ContextQueue) -> None:
    wf = queue.workflow("w", agent_id="analyst")
    wf.open()
    wf.put("key", "blocking")

    async def awaited() -> Any:
        handle = queue.aio.workflow("w", agent_id="analyst")
        entry = await handle.get("key")
        await handle.put("key", "awaited")
        return entry

    assert asyncio.run(awaited()).value == "blocking"
    assert wf["key"] == "awaited"
    assert queue.aio.context_filters is queue.manager.context_filters


def test_a_task_can_be_cancelled_from_a_coroutine() -> None:
    with EmbeddedServer() as server:
        queue = coroutines.build({"broker_url": server.url(), "result_backend": server.url(), "sample_url": None})

        async def cancelled() -> bool:
            async with queue.aio:
                return await queue.aio.cancel("unseen")

        assert asyncio.run(cancelled()) is True
        state: str = queue.app.AsyncResult("unseen").state
        assert state == "REVOKED"
        queue.app.backend.client.close()
        queue.manager.close()


def test_an_update_can_be_enqueued_from_a_coroutine(queue: ctxqueue.ContextQueue) -> None:
    wf = queue.workflow("w", agent_id="analyst")
    wf.open()

    async def producer() -> Any:
        first = await queue.aio.enqueue_update("w", "analyst", {"rows": [1]})
        second = await queue.aio.enqueue_update("w", "analyst", {"rows": [2]}, merge_strategy="append")
        with pytest.raises(ctxqueue.UnknownStrategy):
            await queue.aio.enqueue_update("w", "analyst", {"rows": [2]}, merge_strategy="nonsense")
        return [first.get()["versions"], second.get()["versions"]]

    assert asyncio.run(producer()) == [{"rows": 1}, {"rows": 2}]
    assert wf["rows"] == [1, 2]


def test_a_coalesced_update_is_awaited(queue: ctxqueue.ContextQueue) -> None:
    queue.workflow("w").open()

    async def producer() -> Any:
        update = await queue.aio.enqueue_update("w", "analyst", {"rows": [1]}, coalesce=True)
        assert isinstance(update, ctxqueue.AsyncPendingUpdate)
        result = await update.get()
        return await update.state, dict(result.versions)

    assert asyncio.run(producer()) == ("APPLIED", {"rows": 1})


def test_the_loop_goes_on_while_the_broker_does_not_answer(paused: EmbeddedServer) -> None:
    queue = coroutines.build(
        {"broker_url": paused.url(), "result_backend": "cache+memory://", "ctxqueue_backend_url": "memory://"}
    )

    queue.workflow("w").open()

    async def producer() -> int:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # which looks up the names of hosts
        sending = asyncio.gather(
            queue.aio.enqueue_update("w", "analyst", {"rows": [1]}),
            queue.aio.enqueue_update("w", "analyst", {"rows": [2]}, coalesce=True),
        )
        ticks = 0
        while ticks < TICKS:
            await asyncio.sleep(HEARTBEAT)  # what a loop that is blocked would not come back from
            await asyncio.wait_for(asyncio.to_thread(int), SECONDS)  # nor its threads
            assert not sending.done()
            ticks += 1
        await asyncio.to_thread(paused.resume)
        assert all(result.id for result in await sending)
        return ticks

    assert asyncio.run(producer()) == TICKS
    queue.app.amqp.producer_pool.force_close_all()
    queue.app.pool.force_close_all()


def test_a_coroutine_runs_at_once_in_eager_mode(queue: ctxqueue.ContextQueue) -> None:
    wf = queue.workflow("w")
    wf.open()
    with wf:
        assert queue.app.tasks["extend"].apply((["rows"],)).get() == 1
    assert wf["log"] == ["extended rows"]


def test_in_eager_mode_a_loop_is_not_made_to_wait_for_itself(queue: ctxqueue.ContextQueue) -> None:
    queue.workflow("w").open()

    async def within() -> Any:
        with queue.workflow("w"):
            with pytest.raises(ctxqueue.SyncInAsyncError, match=r"await asyncio.to_thread\(extend.delay"):
                queue.app.tasks["extend"].delay(["rows"])
            return await asyncio.to_thread(queue.app.tasks["extend"].delay, ["rows"])

    assert asyncio.run(within()).get() == 1


def test_called_directly_it_is_awaited_in_a_loop_and_blocks_elsewhere(queue: ctxqueue.ContextQueue) -> None:
    wf = queue.workflow("w")
    wf.open()
    with wf:
        assert queue.app.tasks["persist"].run.__name__ == "persist"
        assert asyncio.run(_awaited(queue.app.tasks["extend"], ["a"])) == 1
        assert queue.app.tasks["extend"](["b"]) == 1
    assert wf["log"] == ["extended a", "extended b"]


async def _awaited(task: Any, *args: Any) -> Any:
    return await task(*args)


def test_a_wrong_number_of_arguments_is_refused_before_anything_is_sent(queue: ctxqueue.ContextQueue) -> None:
    with pytest.raises(TypeError, match="what"):
        queue.app.tasks["extract"].delay()


def test_the_current_handle_is_that_of_the_block_or_the_task(queue: ctxqueue.ContextQueue) -> None:
    outer, inner = queue.workflow("outer", agent_id="a"), queue.aio.workflow("inner", agent_id="b")
    with pytest.raises(ctxqueue.ConfigurationError, match="no current workflow"):
        ctxqueue.current()
    with outer:
        assert ctxqueue.current() is outer
        with inner:
            assert ctxqueue.current() is inner
        assert ctxqueue.current() is outer
    with pytest.raises(ctxqueue.ConfigurationError):
        ctxqueue.current()
