"""The async face: the blocking one's names and parameters, and what only an event loop can do wrong."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from ctxqueue.aio import AsyncSharedContextManager, AsyncWorkflowHandle
from ctxqueue.context import SharedContextManager, WorkflowHandle
from ctxqueue.errors import EntryNotFound, StoreUnavailable, SyncInAsyncError, VersionConflict, WorkflowExists
from ctxqueue.memories.aio import AsyncVectorMemoryManager
from ctxqueue.memories.manager import VectorMemoryManager

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ctxqueue.testing import FaultProxy


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{request.node.name}"
    redis_url: str = request.getfixturevalue("redis_url")
    return redis_url


def public(kind: type) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


OF_A_THREAD = {"on_commit"}
"""Django's transactions belong to threads."""


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (SharedContextManager, AsyncSharedContextManager),
        (WorkflowHandle, AsyncWorkflowHandle),
        (VectorMemoryManager, AsyncVectorMemoryManager),
    ],
    ids=["manager", "handle", "memories"],
)
def test_the_twins_have_the_same_names_and_parameters(blocking: type, awaited: type) -> None:
    assert public(blocking).keys() - OF_A_THREAD == public(awaited).keys()
    for name in public(awaited):
        function = public(blocking)[name]
        assert inspect.signature(function).parameters == inspect.signature(public(awaited)[name]).parameters, name


def run(url: str, body: Callable[[AsyncWorkflowHandle], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with ctxqueue.aconnect(url) as manager:
            handle = manager.workflow("q3-close", agent_id="analyst_001")
            await handle.open()
            await body(handle)

    asyncio.run(main())


def test_every_call_can_be_awaited(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        assert (await wf.put("k", {"a": 1})).version == 1
        assert (await wf.create("c", 1)).version == 1
        assert (await wf.update({"k": {"b": 2}})).versions == {"k": 2}
        assert await wf["k"] == {"a": 1, "b": 2}
        assert (await wf.get("none", "default")) == "default"
        assert [entry.key for entry in await wf.list()] == ["c", "k"]
        assert dict(await wf.view()) == {"k": {"a": 1, "b": 2}, "c": 1}
        assert await wf.delete("c")
        with pytest.raises(EntryNotFound):
            await wf["c"]
        with pytest.raises(VersionConflict) as caught:
            await wf.put("k", 1, expected_version=7)
        assert caught.value.current is not None

    run(url, body)


def test_the_managers_calls_can_be_awaited(url: str) -> None:
    async def main() -> None:
        manager = await ctxqueue.aconnect(url)
        await manager.create_workflow_context("w", {"owner": "finance"})
        with pytest.raises(WorkflowExists):
            await manager.create_workflow_context("w")
        await manager.update_context("w", "analyst_001", {"k": 1})
        view = await manager.get_context_for_agent("w", "analyst_001")
        assert (view["context_data"], view["metadata"]) == ({"k": 1}, {"owner": "finance"})
        assert (await manager.cleanup_expired_contexts()).complete
        await manager.close()

    asyncio.run(main())


def test_updates_of_many_coroutines_all_take_effect(url: str) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        appends = (wf.update({"list": [n]}, merge_strategy="append") for n in range(100))
        merges = (wf.update({"dict": {str(n): n}}) for n in range(100))
        await asyncio.gather(*appends, *merges)
        assert sorted(await wf["list"]) == list(range(100))
        assert len(await wf["dict"]) == 100

    run(url, body)


def test_a_reply_lost_on_the_wire_is_no_second_update(proxy: FaultProxy) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        await wf.put("list", [])
        for n in range(5):
            proxy.lose_replies(matching=b"EVALSHA")
            await wf.update({"list": [n]}, merge_strategy="append")
        entry = await wf.get("list")
        assert entry is not None
        assert (entry.value, entry.version, proxy.lost) == ([0, 1, 2, 3, 4], 6, 5)

    run(proxy.url, body)


def test_one_manager_serves_one_loop_after_another(redis_url: str) -> None:
    manager = AsyncSharedContextManager(redis_url)

    async def once(n: int) -> None:
        wf = manager.workflow("w", agent_id="analyst_001")
        await wf.open()
        await wf.update({"list": [n]}, merge_strategy="append")
        await manager.close()

    for n in range(3):
        asyncio.run(once(n))
    with ctxqueue.connect(redis_url) as blocking:
        assert blocking.workflow("w")["list"] == [0, 1, 2]


def test_a_cancelled_call_leaves_nothing_half_done(proxy: FaultProxy) -> None:
    async def body(wf: AsyncWorkflowHandle) -> None:
        await wf.put("k", 0)
        proxy.hang()
        call = asyncio.ensure_future(wf.put("k", 1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.05)
        proxy.resume()
        await wf.put("k", 2)
        assert await wf["k"] == 2

    run(proxy.url, body)


def test_a_blocking_call_inside_a_loop_is_refused_by_name(url: str) -> None:
    async def main() -> None:
        with ctxqueue.connect(url) as manager, pytest.raises(SyncInAsyncError, match="aconnect"):
            manager.workflow("w").open()

    asyncio.run(main())


def test_a_server_that_is_not_there_is_a_typed_error() -> None:
    async def main() -> None:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            await ctxqueue.aconnect("redis://127.0.0.1:1/0")

    asyncio.run(main())


AWAY = {
    "redis": "redis://127.0.0.1:1/0",
    "cluster": "redis+cluster://127.0.0.1:1",
    "sentinel": "sentinel://127.0.0.1:1?master_name=m",
    "postgresql": "postgresql://nobody@127.0.0.1:1/db",
}


@pytest.mark.parametrize("waits", [True, False], ids=["after it failed", "while it is made"])
@pytest.mark.parametrize("url", AWAY.values(), ids=AWAY)
def test_closing_says_nothing_of_a_first_contact_that_failed(url: str, *, waits: bool) -> None:
    async def main() -> None:
        manager = AsyncSharedContextManager(url)
        reading = asyncio.ensure_future(manager.workflow("w").get("k"))
        await asyncio.wait([reading], timeout=None if waits else 0)
        await manager.close()
        with pytest.raises(StoreUnavailable):
            await reading

    asyncio.run(main())


def test_memories_can_be_awaited_and_the_loop_goes_on_meanwhile(url: str) -> None:
    async def main() -> None:
        async with ctxqueue.aconnect(url) as manager:
            memory = AsyncVectorMemoryManager(manager)
            paris, berlin = await memory.remember_many(["Paris is in France", "Berlin is in Germany"])
            assert await memory.remember("Paris is in France") == paris
            found, *others = await memory.recall("What is in France?", explain=True)
            assert (found.memory.id, [each.memory.id for each in others]) == (paris, [berlin])
            assert found.parts["similarity"] == pytest.approx(found.memory.relevance_score)
            recalls = await asyncio.gather(*(memory.recall("Germany", limit=1) for _ in range(20)))
            assert {each.memory.id for (each,) in recalls} == {berlin}
            assert (await memory.reinforce(paris, 0.2)).importance == pytest.approx(0.7)
            assert (await memory.pin(paris)).pinned
            assert await memory.forget(paris)
            entry = await memory.get(berlin)
            assert entry is not None
            assert entry.access_count == 21
            assert [each.id for each in await memory.list()] == [berlin]
            assert [each.id for each in await memory.retrieve_relevant_memories("Germany")] == [berlin]

    asyncio.run(main())
