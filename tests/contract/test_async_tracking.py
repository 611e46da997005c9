"""Functions that are called in the event loop which has subscribed, and dependencies for event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import aconnect
from tests.waiting import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

WORKFLOW = "q3-close"


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


async def until(predicate: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not predicate():  # noqa: ASYNC110 - nobody here could say so
            await asyncio.sleep(0.01)  # between two looks, bounded by the timeout above
    assert predicate(), what


async def functions_and_coroutines_are_called(url: str) -> None:
    seen: list[tuple[str, ...]] = []

    async def awaited(*given: str) -> None:
        await asyncio.sleep(0)  # gives the loop a turn, as a coroutine that awaits does; nothing is waited for
        seen.append(("awaited", *given))

    def plain(*given: str) -> None:
        seen.append(("plain", *given))
        raise ValueError("it fails, and is called again")

    async with aconnect(url) as manager:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        await other.open()
        first = await manager.subscribe_to_context_changes(WORKFLOW, "analyst_1", ["a", "b_*"], awaited)
        await manager.workflow(WORKFLOW, agent_id="analyst_1").subscribe("a", plain)
        await manager.workflow(WORKFLOW, agent_id="analyst_1").put("a", 0)
        await other.put("a", 1)
        await until(lambda: len(seen) == 2, "both were called")
        assert sorted(seen) == [(kind, WORKFLOW, "other_1", "a") for kind in ("awaited", "plain")]
        await other.put("b_1", 1)
        await until(lambda: len(seen) == 3, "the first was called again")
        assert first.state == "ARMED"
        assert await first.cancel() is True
        assert await first.cancel() is False
        await other.put("a", 2)
        await until(lambda: len(seen) == 4, "the other goes on")
        assert await manager.notification_manager.notify_context_update(WORKFLOW, "other_1", ["a", "c"]) == 1
        assert seen[3:] == [("plain", WORKFLOW, "other_1", "a")] * 2
        history = await manager.notification_manager.notification_history(WORKFLOW, "analyst_1")
        assert [each.keys for each in history][-1] == ("a",)
        assert len(history) == 5


async def a_coroutine_is_called_once_what_an_entry_depends_on_is_there(url: str) -> None:
    seen: list[tuple[str, ...]] = []

    async def awaited(*given: str) -> None:
        seen.append(given)

    async with aconnect(url) as manager:
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        await other.open()
        await other.put("report", 1, depends_on=["revenue", "rates"])
        tracker = manager.dependency_tracker
        await tracker.register_dependency_callback(WORKFLOW, "report", "revenue", awaited)
        await other.put("revenue", 1)
        assert await tracker.is_resolved(WORKFLOW, "report") is False
        await other.put("rates", 1)
        await until(lambda: seen, "it was called")
        await tracker.register_dependency_callback(WORKFLOW, "waiting", "rates", awaited)
        await until(lambda: len(seen) == 2, "what is there already counts")
        assert seen == [(WORKFLOW, "report", "revenue"), (WORKFLOW, "waiting", "rates")]
        assert await tracker.reverse_dependencies(WORKFLOW) == {"report": {"revenue", "rates"}}
        assert await tracker.dependency_graph(WORKFLOW) == {"revenue": {"report"}, "rates": {"report"}}
        assert await tracker.update_dependencies(WORKFLOW, "rates", "other_1") == 1
        assert len(seen) == 3
        await other.put("report", 2)
        assert await tracker.stale(WORKFLOW) == []


async def they_end_with_the_workflow(url: str) -> None:
    async with aconnect(url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id="other_1")
        await wf.open()
        subscription = await manager.subscribe_to_context_changes(WORKFLOW, "analyst_1", "a", print)
        await wf.remove()
        await until(lambda: subscription.state == "CANCELLED", "it has ended")


@pytest.mark.parametrize(
    "body",
    [
        functions_and_coroutines_are_called,
        a_coroutine_is_called_once_what_an_entry_depends_on_is_there,
        they_end_with_the_workflow,
    ],
    ids=lambda body: body.__name__,
)
def test_in_an_event_loop(url: str, body: Callable[[str], Any]) -> None:
    asyncio.run(body(url))
