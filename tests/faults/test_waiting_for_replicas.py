"""``wait_replicas``: a caller is told of a commit once replicas have it, or that they do not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from ctxqueue import AsyncSharedContextManager, SharedContextManager
from ctxqueue.effects import Cancel, Effect, Mark, Once, Outgoing, Promise
from ctxqueue.errors import StoreUnavailable
from ctxqueue.flows import inbox
from ctxqueue.models import Agent
from ctxqueue.stores.redis.connection import SOCKET_SECONDS
from ctxqueue.testing import EmbeddedSentinels

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING = {"wait_replicas": 1}
NOT_CONFIRMED = r"only 0 of 1 replicas confirmed it within 1.0 s: a failover may lose it"


@pytest.fixture(scope="module")
def sentinels() -> Iterator[EmbeddedSentinels]:
    """One master and one replica, which may stand still without anybody taking it for dead."""
    with EmbeddedSentinels(replicas=1, down_after=60.0) as sentinels:
        yield sentinels


@pytest.fixture(params=["redis", "sentinel"])
def url(request: pytest.FixtureRequest, sentinels: EmbeddedSentinels) -> str:
    return sentinels.url() if request.param == "sentinel" else sentinels.master().url()


@pytest.fixture
def replica_away(sentinels: EmbeddedSentinels) -> Iterator[None]:
    replica = sentinels.servers[1]
    replica.pause()
    try:
        yield
    finally:
        replica.resume()


@pytest.mark.usefixtures("replica_away")
def test_a_commit_that_no_replica_confirms_is_no_success(url: str, request: pytest.FixtureRequest) -> None:
    with SharedContextManager(url) as indifferent:
        wf = indifferent.workflow(request.node.name)
        wf.open()
        assert wf.update({"n": 1}, merge_strategy="increment").revision == 1
    for _ in range(2):  # the second only repeats the first, on a connection that has written nothing
        with SharedContextManager(url, WAITING) as manager:
            wf = manager.workflow(request.node.name)
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED) as caught:
                wf.update({"n": 1}, merge_strategy="increment", operation_id="once")
            assert time.monotonic() - begun < SOCKET_SECONDS
            assert caught.value.answered is False
            assert wf["n"] == 2


def test_a_commit_that_was_not_confirmed_takes_effect_once_when_it_is_called_again(
    url: str, sentinels: EmbeddedSentinels, request: pytest.FixtureRequest
) -> None:
    replica = sentinels.servers[1]
    with SharedContextManager(url, WAITING) as manager:
        wf = manager.workflow(request.node.name)
        wf.open()
        replica.pause()
        try:
            with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED):
                wf.update({"n": 1}, merge_strategy="increment", operation_id="once")
        finally:
            replica.resume()
        sentinels.wait_until_whole()
        again = wf.update({"n": 1}, merge_strategy="increment", operation_id="once")
        assert (again.replayed, again.revision, wf["n"]) == (True, 1, 1)


@pytest.mark.usefixtures("replica_away")
def test_what_is_stored_to_be_done_later_waits_too(url: str, request: pytest.FixtureRequest) -> None:
    with SharedContextManager(url) as indifferent:
        indifferent.workflow(request.node.name).open()
    nothing = Outgoing("", b"")
    with SharedContextManager(url, WAITING) as manager:
        terms = manager.terms
        update = inbox.checked(terms, request.node.name, Agent("ann_1"), {"k": 1}, "replace", "once")
        promise = Promise(request.node.name, "run", "app\0item", b"message", wait_us=10**9, keep_us=10**9)
        with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED):
            manager.driver.run(inbox.enqueue(terms, update, b"payload", drain=nothing))
        with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED):
            manager.store.perform(promise)


@pytest.mark.usefixtures("replica_away")
def test_a_task_that_is_called_off_and_a_step_that_is_kept_wait_too(sentinels: EmbeddedSentinels) -> None:
    minute = 60_000_000
    step = Once("w", "run", 1, "draw", b"value", horizon_us=minute)
    mark, cancel = Mark("task", cancelled=True, keep_us=minute), Cancel("w", "other", "app", minute, minute)
    with SharedContextManager(sentinels.master().url(), WAITING) as manager:
        effects: tuple[Effect[Any], ...] = (mark, cancel, step)
        for effect in effects:
            with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED):
                manager.store.perform(effect)
        # To look at it waits for nobody.
        assert manager.store.perform(structs.replace(step, value=None)).value == b"value"


@pytest.mark.usefixtures("replica_away")
def test_the_awaited_store_waits_too(url: str, request: pytest.FixtureRequest) -> None:
    async def commit() -> None:
        async with AsyncSharedContextManager(url, WAITING) as manager:
            with pytest.raises(StoreUnavailable, match=NOT_CONFIRMED):
                await manager.workflow(request.node.name).open()

    asyncio.run(commit())
