"""The audit log under faults: it cannot be written, its reply is lost, its writer dies."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ctxqueue import aconnect, connect
from ctxqueue import effects as fx
from ctxqueue.context import SharedContextManager
from ctxqueue.errors import AccessDenied, RecordDamaged, StoreUnavailable, SyncInAsyncError
from ctxqueue.flows import reading, writing
from ctxqueue.models import Agent, Put
from ctxqueue.stores.redis.keys import workflow_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.testing import FaultProxy

WORKFLOW = "q3-close"
READER = Agent("financial_calculator_1")
CANARY = "canary-0815"


@pytest.fixture
def manager(redis_url: str) -> Iterator[SharedContextManager]:
    with connect(redis_url) as manager:
        handle = manager.workflow(WORKFLOW, agent_id="analyst_001")
        handle.open()
        handle.put("rates_api_key", CANARY)
        yield manager


@pytest.fixture
def broken(manager: SharedContextManager, redis_url: str) -> Iterator[None]:
    """Something else stands under the log's name."""
    key = workflow_keys("default", WORKFLOW).audit
    assert manager.store.where
    with redis.Redis.from_url(redis_url) as client:
        client.delete(key)
        client.set(key, "somebody else's")
        yield
        client.delete(key)


def actions(manager: SharedContextManager) -> list[str]:
    return [record.action for record in manager.audit(limit=1_000)]


def reader_of(manager: SharedContextManager) -> WorkflowHandle:
    return manager.workflow(WORKFLOW, agent_id=READER.agent_id)


@pytest.mark.usefixtures("broken")
def test_without_a_record_no_value_is_handed_out_or_written(manager: SharedContextManager) -> None:
    reader = reader_of(manager)
    operator = manager.workflow(WORKFLOW)
    for look in (
        lambda: reader.get("rates_api_key"),
        lambda: reader["rates_api_key"],
        reader.view,
        reader.list,
        lambda: reader.history("rates_api_key"),
        lambda: reader.at(1),
        lambda: operator.get("rates_api_key", reveal=True),
        lambda: operator.view(reveal=True),
        lambda: reader.put("rates_api_key", 2),
        lambda: reader.delete("rates_api_key"),
    ):
        with pytest.raises(StoreUnavailable, match="another type"):
            look()
    assert reader.put("rates", 1).version == 1
    assert reader["rates"] == 1
    standing = operator.get("rates_api_key")
    assert standing is not None
    assert standing.version == 1


@pytest.mark.usefixtures("broken")
def test_what_is_denied_is_told_alike_though_it_cannot_be_recorded(
    manager: SharedContextManager, caplog: pytest.LogCaptureFixture
) -> None:
    helper = manager.workflow(WORKFLOW, agent_id="helper_1")
    assert helper.get("rates_api_key") is helper.get("nothing") is None
    with pytest.raises(AccessDenied, match="may not wait for"):
        helper.wait_for("rates_api_key", timeout=0.01)
    assert caplog.text.count("the audit log could not be written (denied by helper_1)") == 2
    assert "rates_api_key" not in caplog.text


@pytest.mark.usefixtures("broken")
def test_where_a_warning_is_enough_all_goes_on(
    manager: SharedContextManager, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert manager.terms.settings.audit_failure == "refuse"
    lenient = SharedContextManager(redis_url, {"audit_failure": "warn"})
    reader = reader_of(lenient)
    assert reader["rates_api_key"].reveal() == CANARY
    assert reader.put("rates_api_key", 2).version == 2
    assert reader.delete("rates_api_key")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(":")[0] for line in lines] == [
        "the audit log could not be written (read by financial_calculator_1)",
        "the audit log could not be written (revealed by financial_calculator_1)",
        *(["a commit of financial_calculator_1 to workflow 'q3-close' could not be recorded in the audit log"] * 2),
    ]
    lenient.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_setting_means_the_same_in_a_database(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    with connect(url) as strict, SharedContextManager(url, {"audit_failure": "warn"}) as lenient:
        writer = strict.workflow(WORKFLOW, agent_id="analyst_001")
        writer.open()
        writer.put("rates_api_key", CANARY)
        store: Any = strict.store
        with store._engine.begin() as connection:  # noqa: SLF001 - what another program may do, too
            connection.execute(text("ALTER TABLE ctxqueue_audit RENAME TO elsewhere"))
        reader = reader_of(strict)
        looks: list[Callable[[], Any]] = [reader.view, lambda: reader["rates_api_key"]]
        looks += [lambda: reader.put("rates_api_key", 2), lambda: reader.delete("rates_api_key")]
        for look in looks:
            with pytest.raises(StoreUnavailable, match="answered with an error"):
                look()
        assert reader.put("rates", 1).version == 1
        caplog.clear()
        going = reader_of(lenient)
        assert going["rates_api_key"].reveal() == CANARY
        assert going.put("rates_api_key", 2).version == 2
        with going.transaction():
            going.update({"rates_api_key": {"a": 1}, "rates": 3})
        assert going.delete("rates_api_key")
        lines = [record.getMessage() for record in caplog.records if record.name == "ctxqueue.flows.auditing"]
        made = f"a commit of {READER.agent_id} to workflow {WORKFLOW!r} could not be recorded in the audit log"
        assert [line for line in lines if line == made] == [made] * 3
        assert CANARY not in caplog.text
        with store._engine.begin() as connection:  # noqa: SLF001
            connection.execute(text("ALTER TABLE elsewhere RENAME TO ctxqueue_audit"))
        assert going.put("rates_api_key", 5).version == 4
        assert [record.action for record in strict.audit(limit=1_000) if record.action != "policy"] == ["wrote"] * 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.data())
def test_what_somebody_else_writes_into_the_log_is_read_or_said_to_be_damaged(
    manager: SharedContextManager, redis_url: str, damage: st.DataObject
) -> None:
    key = workflow_keys("default", WORKFLOW).audit
    with redis.Redis.from_url(redis_url) as client:
        (_, fields), *_ = cast("Any", client.xrange(key, count=1))
        name = damage.draw(st.sampled_from(sorted(fields)))
        fields = {**fields, name: damage.draw(st.binary(max_size=40))}
        if damage.draw(st.booleans()):
            del fields[name]
        made: Any = client.xadd(key, fields or {"x": "y"})
        try:
            assert isinstance(actions(manager), list)
        except RecordDamaged as error:
            assert "of the audit log is damaged" in str(error)  # noqa: PT017 - it may, and need not
        finally:
            client.xdel(key, made)


def test_a_secret_whose_reveal_cannot_be_recorded_stays_one(manager: SharedContextManager, proxy: FaultProxy) -> None:
    assert actions(manager) == ["wrote"]
    with connect(proxy.url) as far:
        secret = reader_of(far)["rates_api_key"]
        proxy.refuse()
        proxy.reset_all()
        with pytest.raises(StoreUnavailable):
            secret.reveal()
        proxy.resume()
        assert secret.reveal() == CANARY
    assert actions(manager) == ["wrote", "read", "revealed"]


def test_a_record_is_there_once_whichever_reply_is_lost(manager: SharedContextManager, proxy: FaultProxy) -> None:
    with connect(proxy.url) as far:
        reader = reader_of(far)
        assert reader["rates_api_key"]
        calls = (
            (lambda: reader.put("rates_api_key", 2), ["wrote"]),
            (lambda: reader.get("rates_api_key"), ["read"]),
            (lambda: reader.delete("rates_api_key"), ["deleted"]),
        )
        for lost in range(1, 3):
            for call, expected in calls:
                before = actions(manager)
                proxy.lose_replies(lost, matching=b"EVALSHA")
                call()
                assert actions(manager) == [*before, *expected]
        assert proxy.lost == 9


def test_who_dies_before_the_record_was_handed_nothing_and_after_it_is_on_record(
    manager: SharedContextManager,
) -> None:
    flow: Any = reading.get(manager.terms, WORKFLOW, READER, "rates_api_key")
    effect = next(flow)
    while not isinstance(effect, fx.Audit):
        effect = flow.send(manager.store.perform(effect))
    flow.close()
    assert actions(manager) == ["wrote"]
    manager.store.perform(effect)
    assert actions(manager) == ["wrote", "read"]


def test_a_write_and_its_record_are_one_effect(manager: SharedContextManager) -> None:
    flow: Any = writing.put(manager.terms, WORKFLOW, READER, "rates_api_key", Put(2))
    effect = next(flow)
    assert isinstance(effect, fx.Commit)
    flow.close()
    assert actions(manager) == ["wrote"]
    manager.store.perform(effect)
    assert actions(manager) == ["wrote", "wrote"]


def test_in_an_event_loop_a_reveal_is_recorded_by_the_loop(redis_url: str, manager: SharedContextManager) -> None:
    async def main() -> None:
        async with aconnect(redis_url) as far:
            secret = await far.workflow(WORKFLOW, agent_id=READER.agent_id)["rates_api_key"]
            assert secret.reveal() == CANARY
            assert await secret.areveal() == CANARY
            assert await asyncio.to_thread(secret.reveal) == CANARY
        blocking = await asyncio.to_thread(lambda: reader_of(manager)["rates_api_key"])
        with pytest.raises(SyncInAsyncError, match="areveal"):
            blocking.reveal()
        assert await blocking.areveal() == CANARY

    asyncio.run(main())
    assert actions(manager) == ["wrote", "read", "revealed", "revealed", "revealed", "read", "revealed"]
