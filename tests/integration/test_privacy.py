"""A task's arguments and an update's values are in its message and before its body, and nowhere else."""

from __future__ import annotations

import base64
import json
import pickle
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, chain, chord
from kombu.message import Message

from ctxqueue.errors import VersionConflict
from ctxqueue.models import Put
from tests.integration.apps.discreet import HouseRequest
from tests.integration.listening import every_event
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Deploy
    from tests.integration.deployments import Deployment

CANARY = "canary-7f3c9d1e-do-not-show"
GIVEN = {"args": (CANARY,), "kwargs": {"also": CANARY}}
FAR = 100_000
"""Seconds."""


def spellings() -> list[str]:
    """The canary, and how it looks within text in base 64, wherever it begins there."""
    shifted = [base64.b64encode(b"x" * shift + CANARY.encode())[4:-4].decode() for shift in range(3)]
    return [CANARY, *shifted]


def told(text: str) -> list[str]:
    """Where the canary shows, in whatever spelling."""
    found = [(text.find(spelling), len(spelling)) for spelling in spellings()]
    return [text[max(0, at - 300) : at + length + 100] for at, length in found if at >= 0]


@pytest.fixture(scope="module")
def site(deploy: Deploy) -> Deployment:
    return deploy(
        "discreet",
        result_extended=True,
        task_send_sent_event=True,
        worker_prefetch_multiplier=4,
        broker_transport_options={"visibility_timeout": 2 * FAR},
        ctxqueue_sweep_interval=0.25,
    )


@pytest.fixture(scope="module")
def events(site: Deployment) -> Iterator[list[dict[str, Any]]]:
    with every_event(site.app) as seen:
        yield seen


@pytest.fixture(scope="module")
def flower(site: Deployment) -> str:
    return site.flower()


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - Flower's own
        return str(answer.read().decode())


def test_a_secret_argument_shows_in_no_monitor_log_or_result(
    site: Deployment, events: list[dict[str, Any]], flower: str
) -> None:
    workflow = site.workflow()
    workflow.put("taken", 1)
    worker = site.worker("-E", "-l", "debug", slots=1)
    with workflow:
        ended = {name: site.task(name).apply_async(**GIVEN) for name in ("succeed", "fail", "again", "slow")}
        canvas = chain(site.task("succeed").si(CANARY, also=CANARY), site.task("succeed").si(CANARY, also=CANARY))
        members = [site.task("succeed").s(CANARY, also=CANARY) for _ in range(2)]
        ended["chain"] = canvas.delay()
        ended["chord"] = chord(members, site.task("succeed").si(CANARY, also=CANARY)).delay()
        parked = site.task("wait").apply_async(**GIVEN)
    foreign = Celery("foreign", broker=site.url, backend=site.url, set_as_current=False)
    ended["foreign"] = foreign.send_task("succeed", **GIVEN)
    update = site.queue.enqueue_update(workflow.workflow_id, "extractor", {"salary": CANARY})
    refused = site.queue.enqueue_update(workflow.workflow_id, "extractor", {"taken": Put(CANARY, expected_version=9)})
    for name, result in ended.items():
        wait_until(result.ready, f"{name} has ended")
    assert ended["succeed"].get() == [len(CANARY), len(CANARY)]
    assert ended["again"].get() == ended["chord"].get()[1] == len(CANARY)
    assert update.get(SECONDS)["versions"] == {"salary": 1}
    with pytest.raises(VersionConflict):
        refused.get(SECONDS)
    wait_until(lambda: site.parked(workflow), "the task is parked")

    # One is under way, one behind it in the worker, one in its timer.
    with workflow:
        site.task("held").apply_async(**GIVEN)
        site.until_held("held")
        site.task("wait").apply_async(countdown=FAR, **GIVEN)
        site.task("succeed").apply_async(**GIVEN)
    inspect = site.app.control.inspect(timeout=SECONDS, limit=1)
    wait_until(lambda: any((inspect.scheduled() or {"": []}).values()), "one is scheduled")
    wait_until(lambda: len(next(iter((inspect.reserved() or {"": []}).values()))) >= 1, "one is reserved")
    answers = json.dumps([inspect.active(), inspect.reserved(), inspect.scheduled(), inspect.conf()])
    assert "(...)" in answers
    assert told(answers) == []

    wait_until(lambda: "WAITING" in page(f"{flower}/task/{parked.id}"), "Flower knows the parked task")
    workers = list(json.loads(page(f"{flower}/api/workers?refresh=1")))
    pages = {
        path: page(f"{flower}/{path}")
        for path in (
            "tasks",
            "api/tasks",
            "workers",
            *(f"worker/{name}" for name in workers),
            *(f"task/{result.id}" for result in (*ended.values(), parked, update)),
            *(f"api/task/info/{result.id}" for result in (*ended.values(), parked, update)),
        )
    }
    assert workers
    assert "succeed" in pages["api/tasks"]
    assert {path: told(text) for path, text in pages.items() if told(text)} == {}

    site.let_go("held")
    workflow.put("key", 1)
    assert parked.get(SECONDS) == len(CANARY)
    wait_until(lambda: f"Task wait[{parked.id}] succeeded" in site.log(), "the log has its end")
    site.stop(worker)
    assert told(site.log()) == []
    assert "TaskPool: Apply" in site.log()
    assert told(json.dumps(events, default=repr)) == []
    assert {"task-sent", "task-received", "task-failed", "task-retried", "task-waiting"} <= {e["type"] for e in events}
    stored = [site.redis.get(key).decode() for key in site.redis.scan_iter("celery-task-meta-*")]
    assert [told(result) for result in stored if told(result)] == []
    assert json.loads(site.redis.get(f"celery-task-meta-{ended['succeed'].id}"))["args"] == "(...)"


def test_what_a_publisher_lets_be_seen_is_seen(site: Deployment, events: list[dict[str, Any]]) -> None:
    workflow = site.workflow()
    worker = site.worker("-E")
    with workflow:
        result = site.task("succeed").apply_async(**GIVEN, argsrepr="(<a name>,)", kwargsrepr="{<a place>}")
    assert result.get(SECONDS)
    wait_until(lambda: "task-received" in [e["type"] for e in events if e.get("uuid") == result.id], "it is received")
    received = next(e for e in events if e.get("uuid") == result.id and e["type"] == "task-received")
    assert (received["args"], received["kwargs"]) == ("(<a name>,)", "{<a place>}")
    assert json.loads(site.redis.get(f"celery-task-meta-{result.id}"))["args"] == "(<a name>,)"
    site.stop(worker)


def test_the_users_own_request_class_stays_and_sees_the_arguments(site: Deployment) -> None:
    worker = site.worker()
    with site.workflow():
        result = site.task("succeed").apply_async(**GIVEN)
    assert result.get(SECONDS)
    note = wait_until(lambda: site.notes(f"accepted:{result.id}"), "its request was told")
    site.stop(worker)
    assert note[0] == [[CANARY], {"also": CANARY}]
    assert issubclass(site.task("succeed").Request, HouseRequest)
    assert not issubclass(site.task("fail").Request, HouseRequest)


@pytest.mark.parametrize("as_text", [False, True])
def test_what_a_pool_is_given_shows_nothing_and_arrives_whole(site: Deployment, *, as_text: bool) -> None:
    packed = json.dumps([[CANARY], {"also": CANARY}, {}])
    message = Message(
        packed if as_text else packed.encode(),
        headers={"id": "1", "task": "fail", "argsrepr": CANARY, "kwargsrepr": CANARY},
        content_type="application/json",
        content_encoding="utf-8",
        accept=["application/json"],
    )
    task = site.task("fail")
    request = task.Request(message, app=site.app, task=task)
    given = (request.request_dict, request.body)
    assert told(repr(given)) == []
    fields, body = pickle.loads(pickle.dumps(given))  # noqa: S301 - as the pool does
    assert (type(fields), type(body)) == (dict, str if as_text else bytes)
    assert (fields["id"], fields["argsrepr"]) == ("1", "(...)")
    assert body == message.body
    assert request.args == [CANARY]


def test_the_password_of_the_store_is_hidden_from_who_asks_for_the_configuration(deploy: Deploy) -> None:
    site = deploy("discreet", ctxqueue_backend_url="redis://:hunter2@127.0.0.1:1/3")
    site.worker()
    (conf,) = site.app.control.inspect(timeout=SECONDS, limit=1).conf().values()
    assert conf["ctxqueue_backend_url"].endswith("*@127.0.0.1:1/3")
    assert "hunter2" not in json.dumps(conf)
