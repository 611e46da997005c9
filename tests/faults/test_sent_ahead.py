"""An effect that is sent ahead, and whose reply is waited for later: whatever happens meanwhile, it counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ctxqueue import StoreUnavailable, connect
from ctxqueue import effects as fx
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import InboxFull, WorkflowNotFound
from ctxqueue.flows import inbox, stored
from ctxqueue.models import Agent
from ctxqueue.pending import PendingUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.testing import FaultProxy

pytestmark = pytest.mark.usefixtures("tidy_redis")

WORKFLOW = "q3-close"


@pytest.fixture
def manager(proxy: FaultProxy) -> Iterator[SharedContextManager]:
    """Connected by way of the proxy, with its scripts loaded."""
    with SharedContextManager(proxy.url, {"inbox_limit": 2}) as manager:
        manager.workflow(WORKFLOW).open()
        manager.driver.run(enqueuing(manager, "warm"))
        assert applied(manager, "warm") == ["warm"]
        yield manager
        proxy.resume()
        manager.workflow(WORKFLOW).remove()


def enqueuing(manager: SharedContextManager, name: str, workflow_id: str = WORKFLOW) -> fx.Flow[bool]:
    ref = stored.UpdateRef(workflow_id, "ann_1", name)
    return inbox.enqueue(manager.terms, ref, stored.packed(workflow_id, Agent(ref.agent_id), {"k": [name]}, "append"))


def applied(manager: SharedContextManager, name: str) -> Any:
    manager.driver.run(inbox.carry_out(manager.terms, stored.UpdateRef(WORKFLOW, "ann_1", name)))
    assert PendingUpdate(manager.driver, stored.UpdateRef(WORKFLOW, "ann_1", name)).state == "APPLIED"
    return manager.workflow(WORKFLOW)["k"]


def test_other_calls_go_their_way_meanwhile(manager: SharedContextManager) -> None:
    with manager.driver.begun(enqueuing(manager, "a")) as rest:
        manager.workflow(WORKFLOW).put("other", 1)
        assert manager.workflow(WORKFLOW)["other"] == 1
        assert rest() is True
    assert applied(manager, "a") == ["warm", "a"]


@pytest.mark.parametrize("lost", [1, 2])
def test_its_reply_is_lost(manager: SharedContextManager, proxy: FaultProxy, lost: int) -> None:
    proxy.lose_replies(lost, matching=b"EVALSHA")
    with manager.driver.begun(enqueuing(manager, "a")) as rest:
        assert rest() is True
    assert proxy.lost == lost
    assert applied(manager, "a") == ["warm", "a"]


def test_its_connection_ends_before_its_reply_is_looked_for(manager: SharedContextManager, proxy: FaultProxy) -> None:
    with manager.driver.begun(enqueuing(manager, "a")) as rest:
        proxy.reset_all()
        assert rest() is True
    assert applied(manager, "a") == ["warm", "a"]


def test_a_reply_that_nobody_looks_for_is_not_the_next_calls(manager: SharedContextManager) -> None:
    for _ in range(3):
        with manager.driver.begun(enqueuing(manager, "a")):
            pass
        assert manager.workflow(WORKFLOW)["k"] == ["warm"]
    assert applied(manager, "a") == ["warm", "a"]


def test_a_server_that_has_forgotten_its_scripts(manager: SharedContextManager, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    with manager.driver.begun(enqueuing(manager, "a")) as rest:
        assert rest() is True
    assert applied(manager, "a") == ["warm", "a"]


def test_a_refusal_is_raised_where_the_reply_is_looked_for(manager: SharedContextManager) -> None:
    with manager.driver.begun(enqueuing(manager, "a", "unknown")) as rest, pytest.raises(WorkflowNotFound):
        rest()
    for name in ("a", "b"):
        manager.driver.run(enqueuing(manager, name))
    with manager.driver.begun(enqueuing(manager, "c")) as rest, pytest.raises(InboxFull):
        rest()
    assert applied(manager, "a") == ["warm", "a"]


def go_away(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset_all()


def test_a_store_that_is_away_says_so_before_its_caller_does_anything_else(
    manager: SharedContextManager, proxy: FaultProxy
) -> None:
    try_nothing_again(manager.store)
    go_away(proxy)
    with pytest.raises(StoreUnavailable), manager.driver.begun(enqueuing(manager, "a")):
        pytest.fail("it was not said")


def test_a_store_that_is_away_at_first_contact_says_so_too(proxy: FaultProxy) -> None:
    proxy.refuse()
    with SharedContextManager(proxy.url) as manager:
        try_nothing_again(manager.store)
        with pytest.raises(StoreUnavailable), manager.driver.begun(enqueuing(manager, "a")):
            pytest.fail("it was not said")


def test_a_store_that_goes_away_before_its_reply_is_looked_for(
    manager: SharedContextManager, proxy: FaultProxy
) -> None:
    try_nothing_again(manager.store)
    proxy.hang()  # a reply that has come counts
    with manager.driver.begun(enqueuing(manager, "a")) as rest:
        go_away(proxy)
        with pytest.raises(StoreUnavailable):
            rest()


def try_nothing_again(store: Any) -> None:
    """It takes 6 s to give up otherwise."""
    store._client.set_retry(Retry(NoBackoff(), 0))  # noqa: SLF001 - no setting says so


@pytest.mark.parametrize("place", ["memory", "sqlite"])
def test_a_store_without_a_wire_does_it_when_it_is_asked(place: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if place == "memory" else request.getfixturevalue("sqlite_url")
    with connect(url) as manager:
        manager.workflow(WORKFLOW).open()
        with manager.driver.begun(enqueuing(manager, "a")) as rest:
            assert rest() is True
        assert applied(manager, "a") == ["a"]
