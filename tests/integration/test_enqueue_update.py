"""An update may be left to a worker: checked at once, carried out once, its values seen by nobody on the way."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import ctxqueue
from ctxqueue import Put, WorkflowNotFound
from ctxqueue.stores.redis.keys import workflow_keys
from tests.integration.deployments import ASIDE
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

AGENT = "web_extractor_001"


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    site = deploy("parking", ctxqueue_max_entries=50)
    site.worker()
    return site


@pytest.fixture
def workflow(site: Deployment) -> WorkflowHandle:
    return site.workflow()


def update(site: Deployment, workflow: WorkflowHandle, updates: Any, **options: Any) -> Any:
    return site.queue.enqueue_update(workflow.workflow_id, AGENT, updates, **options)


def test_its_result_is_the_revision_and_the_versions(site: Deployment, workflow: WorkflowHandle) -> None:
    first = update(site, workflow, {"rows": [1], "rates": {"USD": "1.08"}})
    assert first.get(SECONDS) == {"revision": 1, "versions": {"rows": 1, "rates": 1}, "replayed": False}
    second = update(site, workflow, {"rates": {"JPY": "162.5"}})
    assert second.get(SECONDS) == {"revision": 2, "versions": {"rates": 2}, "replayed": False}
    assert workflow["rates"] == {"USD": "1.08", "JPY": "162.5"}
    entry = workflow.get("rates")
    assert entry is not None
    assert entry.agent_id == AGENT


@pytest.mark.parametrize(("strategy", "expected"), [("smart_merge", [2]), ("replace", [2]), ("append", [1, 2])])
def test_it_merges_as_it_was_told(
    site: Deployment, workflow: WorkflowHandle, strategy: str, expected: list[int]
) -> None:
    workflow.put("rows", [1])
    update(site, workflow, {"rows": [2]}, merge_strategy=strategy).get(SECONDS)
    assert workflow["rows"] == expected


def test_values_and_options_arrive_as_they_were_given(site: Deployment, workflow: WorkflowHandle) -> None:
    values = {
        "amount": Decimal("10.50"),
        "day": datetime(2026, 9, 30, 12, tzinfo=UTC),
        "raw": b"\x00\xff",
        "pair": (1, "zwei"),
        "big": 2**70,
    }
    brief = Put("gone soon", priority="critical", ttl=timedelta(seconds=60), metadata={"source": "web"})
    update(site, workflow, {**values, "brief": brief, "own": Put(1, scope="private")}).get(SECONDS)
    assert {name: workflow[name] for name in values} == values
    entry = workflow.get("brief")
    assert entry is not None
    assert entry.expires_at is not None
    assert (entry.value, entry.priority.value, entry.metadata) == ("gone soon", "critical", {"source": "web"})
    assert workflow.get("own") is None
    assert site.queue.workflow(workflow.workflow_id, agent_id=AGENT)["own"] == 1


def test_it_releases_a_parked_task(site: Deployment, workflow: WorkflowHandle) -> None:
    with workflow:
        result = site.task("named").delay("rows")
    wait_until(lambda: site.parked(workflow), "the task is parked")
    update(site, workflow, {"rows": [1]})
    assert result.get(SECONDS) == [[1]]


def test_what_stands_there_may_refuse_it_with_a_typed_error(site: Deployment, workflow: WorkflowHandle) -> None:
    workflow.put("text", "no list")
    refused = {
        ctxqueue.VersionConflict: {"text": Put("new", expected_version=7)},
        ctxqueue.CapacityError: {f"key{number}": number for number in range(60)},
    }
    for error, updates in refused.items():
        with pytest.raises(error):
            update(site, workflow, updates).get(SECONDS)
    with pytest.raises(ctxqueue.InvalidInput, match="append needs a list"):
        update(site, workflow, {"text": ["row"]}, merge_strategy="append").get(SECONDS)
    with pytest.raises(ctxqueue.WorkflowNotFound, match="nobody-opened-it"):
        site.queue.enqueue_update("nobody-opened-it", AGENT, {"key": 1}).get(SECONDS)
    assert workflow["text"] == "no list"
    assert workflow.view().revision == 1


@pytest.mark.parametrize(
    ("error", "updates", "options"),
    [
        (ctxqueue.InvalidInput, {}, {}),
        (ctxqueue.InvalidInput, [("key", 1)], {}),
        (ctxqueue.InvalidName, {"": 1}, {}),
        (ctxqueue.InvalidName, {"k" * 300: 1}, {}),
        (ctxqueue.NotSerializable, {"key": math.nan}, {}),
        (ctxqueue.NotSerializable, {"key": object()}, {}),
        (ctxqueue.ValueTooLarge, {"key": "x" * (1024 * 1024 + 1)}, {}),
        (ctxqueue.InvalidDuration, {"key": Put(1, ttl=-1)}, {}),
        (ctxqueue.UnknownScope, {"key": Put(1, scope="somewhere")}, {}),
        (ctxqueue.UnknownPriority, {"key": Put(1, priority="urgent")}, {}),
        (ctxqueue.UnknownStrategy, {"key": 1}, {"merge_strategy": "guess"}),
        (ctxqueue.InvalidInput, {"key": "no list"}, {"merge_strategy": "append"}),
        (ctxqueue.CommitTooLarge, {f"key{number}": number for number in range(201)}, {}),
        (ctxqueue.CommitTooLarge, {f"key{number}": "x" * 400_000 for number in range(3)}, {}),
        (ctxqueue.MixedWorkflows, {"key": 1, "global_key": 1}, {}),
        (ctxqueue.InvalidInput, {"key": 1}, {"args": (1,)}),
        (ctxqueue.InvalidInput, {"key": 1}, {"countdown": "soon"}),
        (ctxqueue.InvalidInput, {"key": 1}, {"expires": "tomorrow"}),
        (ctxqueue.InvalidInput, {"key": 1}, {"countdwon": 5}),
        (ctxqueue.InvalidInput, {"key": 1}, {"x-tenant": "a"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_bad_input_is_refused_before_anything_is_sent(
    site: Deployment, workflow: WorkflowHandle, error: type[Exception], updates: Any, options: dict[str, Any]
) -> None:
    name = f"nobody-reads-{workflow.workflow_id}"
    with pytest.raises(error):
        update(site, workflow, updates, queue=name, **options)
    assert site.redis.llen(name) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"queue": 5}, "queue is a int: give a string"),
        ({"task_id": 5}, "task_id is a int: give a string"),
        ({"headers": 5}, "headers is a int: give a mapping"),
        ({"priority": "high"}, "priority is a str: give an integer"),
        ({"time_limit": "x"}, "time_limit is a str: give seconds"),
        ({"eta": "soon"}, "eta is 'soon': give a datetime"),
        ({"serializer": "none-such"}, "serializer is 'none-such': give one of .*json"),
        ({"compression": "none-such"}, "compression is 'none-such', which is not installed"),
        ({"link": 5}, "link holds what is no signature"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"coalesce": True, "as_task": True}], ids=["its-own", "coalesced"])
def test_an_option_of_which_celery_makes_nothing_is_refused_and_no_update_stays(
    site: Deployment, workflow: WorkflowHandle, options: dict[str, Any], told: str, how: dict[str, Any]
) -> None:
    """Celery would see it only when the update is in the store, which would try in vain to send its message."""
    with pytest.raises(ctxqueue.InvalidInput, match=told):
        update(site, workflow, {"key": 1}, **how, **options)
    keys = workflow_keys(site.queue.manager.terms.namespace, workflow.workflow_id)
    assert site.redis.hlen(keys.u) == 0


def test_options_of_every_kind_that_celery_takes_are_taken(site: Deployment, workflow: WorkflowHandle) -> None:
    result = update(
        *(site, workflow, {"key": 1}),
        eta="2020-01-01T00:00:00+00:00",
        compression="gzip",
        serializer="json",
        time_limit=30.5,
        link=site.task("ctxqueue.drain_inbox").si(workflow.workflow_id),
        priority=3,
        queue=None,
    )
    assert result.get(SECONDS)["versions"] == {"key": 1}


def test_a_misspelt_argument_is_no_option_of_celerys(site: Deployment, workflow: WorkflowHandle) -> None:
    with pytest.raises(ctxqueue.InvalidInput, match=r"merge_stategy is neither .* did you mean merge_strategy"):
        update(site, workflow, {"rows": [1]}, merge_stategy="append")
    with pytest.raises(ctxqueue.InvalidInput, match="did you mean coalesce"):
        update(site, workflow, {"rows": [1]}, coalesces=True)


def test_a_stamp_is_a_name_of_the_callers_own(site: Deployment, workflow: WorkflowHandle) -> None:
    result = update(site, workflow, {"rows": [1]}, stamped_headers=["tenant"], tenant="a")
    assert result.get(SECONDS)["revision"] == 1


@pytest.mark.parametrize(("workflow_id", "agent_id"), [("", AGENT), ("w\0", AGENT), ("w", ""), (7, AGENT)])
def test_bad_names_are_refused_at_once(site: Deployment, workflow_id: Any, agent_id: str) -> None:
    with pytest.raises(ctxqueue.InvalidName):
        site.queue.enqueue_update(workflow_id, agent_id, {"key": 1})


def test_a_refused_one_publishes_nothing_and_listens_for_nothing(site: Deployment) -> None:
    """Celery has its message ready by then."""
    listening: Any = site.app.backend.result_consumer
    before = set(listening.subscribed_to)
    with pytest.raises(WorkflowNotFound):
        site.queue.enqueue_update("never-opened", AGENT, {"k": 1}, queue=ASIDE)
    assert site.all_intercepted() == []
    assert set(listening.subscribed_to) <= before


def test_a_message_delivered_twice_updates_once(site: Deployment, workflow: WorkflowHandle) -> None:
    update(site, workflow, {"rows": [1]}, merge_strategy="append", queue="aside")
    message = json.loads(site.redis.lpop("aside") or b"")
    message["properties"]["delivery_info"]["routing_key"] = "celery"
    result = site.app.AsyncResult(site.deliver(json.dumps(message).encode()))
    assert result.get(SECONDS) == {"revision": 1, "versions": {"rows": 1}, "replayed": False}
    site.forget_result(result.id)
    site.deliver(json.dumps(message).encode())
    assert site.stored_anew(result.id) == {"revision": 1, "versions": {"rows": 1}, "replayed": True}
    assert workflow["rows"] == [1]


def test_two_messages_of_one_operation_update_once(site: Deployment, workflow: WorkflowHandle) -> None:
    results = [
        update(site, workflow, {"rows": [number]}, merge_strategy="append", operation_id="import") for number in (1, 2)
    ]
    outcomes = [result.get(SECONDS) for result in results]
    assert sorted(outcome["replayed"] for outcome in outcomes) == [False, True]
    assert [outcome["versions"] for outcome in outcomes] == [{"rows": 1}] * 2
    assert len(workflow["rows"]) == 1


def test_two_messages_are_two_updates(site: Deployment, workflow: WorkflowHandle) -> None:
    results = [update(site, workflow, {"rows": ["same"]}, merge_strategy="append") for _ in range(2)]
    assert sorted(result.get(SECONDS)["revision"] for result in results) == [1, 2]
    assert workflow["rows"] == ["same", "same"]


def test_its_message_shows_keys_to_nobody_and_values_even_less(site: Deployment, workflow: WorkflowHandle) -> None:
    update(site, workflow, {"salary": "classified", "other": 1}, queue="aside")
    message = json.loads(site.redis.lpop("aside") or b"")
    shown = message["headers"]["argsrepr"]
    assert workflow.workflow_id in shown
    assert AGENT in shown
    for word in ("classified", "salary"):
        assert word not in json.dumps(message["headers"])
        assert word.encode() not in b64decode(message["body"])


def test_apply_async_options_go_through(site: Deployment, workflow: WorkflowHandle) -> None:
    result = update(site, workflow, {"rows": 1}, task_id=f"my-{workflow.workflow_id}", priority=3, expires=60)
    assert result.id == f"my-{workflow.workflow_id}"
    assert result.get(SECONDS)["revision"] == 1
