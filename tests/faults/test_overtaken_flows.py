"""Flows of several effects, overtaken by another writer between two of them: nothing of the other's is lost."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import ContextEntry, DatabaseContextStorage, VersionConflict, WorkflowContext, connect
from ctxqueue.effects import Commit, LoadHistory, LoadPage
from ctxqueue.flows import erasing, histories, storing
from ctxqueue.models import Agent, EraseReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import SharedContextManager
    from ctxqueue.effects import Effect, Flow

ANN = "ann_1"


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def manager(request: pytest.FixtureRequest) -> Iterator[SharedContextManager]:
    memory = f"memory://{uuid.uuid4().hex}"
    url = memory if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    with connect(url) as manager:
        yield manager


def overtaken(
    manager: SharedContextManager, flow: Flow[Any], before: Callable[[Effect[Any]], bool], other: Callable[[], object]
) -> Any:
    """Run the flow, and the other writer once: right before the first effect of a kind."""
    done = False
    try:
        effect = next(flow)
        while True:
            if not done and before(effect):
                done = True
                other()
            try:
                reply = manager.store.perform(effect)
            except Exception as error:  # noqa: BLE001 - the flow's to judge
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        assert done
        return stop.value


def is_commit(effect: Effect[Any]) -> bool:
    return isinstance(effect, Commit)


def test_what_another_writes_over_it_is_not_erased(manager: SharedContextManager) -> None:
    ann, bob = (manager.workflow("w", agent_id=agent) for agent in (ANN, "bob_1"))
    ann.open()
    ann.update({"a": "ann's", "b": "ann's"})
    flow = erasing.erase(manager.terms, erasing.Subject(ANN, None))
    report = overtaken(manager, flow, is_commit, lambda: bob.put("a", "bob's"))
    assert report == EraseReport(workflows=1, entries=1, values=1)
    assert dict(bob.view()) == {"a": "bob's"}
    assert [entry.value for entry in bob.history("a")] == ["bob's"]


def test_what_is_written_again_meanwhile_is_erased(manager: SharedContextManager) -> None:
    ann = manager.workflow("w", agent_id=ANN)
    ann.open()
    ann.put("a", 1)
    flow = erasing.erase(manager.terms, erasing.Subject(ANN, None))
    assert overtaken(manager, flow, is_commit, lambda: ann.put("a", 2)).entries == 1
    assert dict(ann.view()) == {}


def test_a_workflow_removed_meanwhile_does_not_end_an_erasure(manager: SharedContextManager) -> None:
    for name in ("w1", "w2"):
        manager.workflow(name).open()
        manager.workflow(name, agent_id=ANN).put("a", 1)
    flow = erasing.erase(manager.terms, erasing.Subject(ANN, None))
    erased: list[str] = []

    def first_commit(effect: Effect[Any]) -> bool:
        if isinstance(effect, Commit):
            erased.append(effect.workflow_id)
        return bool(erased)

    overtaken(manager, flow, first_commit, lambda: manager.workflow(erased[0]).remove())
    assert manager.erase(agent_id=ANN).entries == 0


def test_two_that_make_one_workflow_do_not_write_over_each_other(manager: SharedContextManager) -> None:
    context = WorkflowContext("w")
    context.add_entry(ContextEntry.of("mine", 1, ANN))

    def other() -> None:
        manager.workflow("w", agent_id="bob_1").put("theirs", 1)

    flow = storing.store_context(manager.terms, "w", context, b"")
    with pytest.raises(VersionConflict, match="was not read from it"):
        overtaken(manager, flow, lambda effect: not isinstance(effect, LoadPage) and _reads(effect), other)
    assert set(manager.workflow("w").view()) == {"theirs"}


def _reads(effect: Effect[Any]) -> bool:
    return any(isinstance(each, LoadPage) for each in getattr(effect, "effects", ()))


def test_a_version_is_told_once_whatever_comes_between_two_pages(manager: SharedContextManager) -> None:
    wf = manager.workflow("w", agent_id=ANN)
    wf.open()
    large = "x" * 100_000
    for number in range(10):
        wf.put("k", f"{number}{large}")
    pages: list[LoadHistory] = []

    def second_page(effect: Effect[Any]) -> bool:
        if isinstance(effect, LoadHistory):
            pages.append(effect)
        return len(pages) == 2

    flow = histories.history(manager.terms, "w", Agent(ANN), "k", 20, "workflow", None)
    found = overtaken(manager, flow, second_page, lambda: wf.put("k", "new"))
    assert [entry.version for entry in found] == list(range(10, 0, -1))


def test_an_entry_of_the_global_context_is_not_put_in_a_workflow(sqlite_url: str) -> None:
    storage = DatabaseContextStorage(sqlite_url)
    storage.store_context("w", WorkflowContext("w"))
    with pytest.raises(ValueError, match="global context"):
        storage.update_entry("w", ContextEntry.of("global_k", 1, ANN, "global"))
    storage.close()
