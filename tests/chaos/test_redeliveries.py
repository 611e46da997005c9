"""Messages that come again and again: tasks outlive the visibility timeout, and each message comes 2 to 5 times."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.result import denied_join_result

from tests.chaos.judge import judge
from tests.chaos.run import journaled_server, settings
from tests.chaos.settling import settle, until_empty
from tests.chaos.work import Expected
from tests.integration.apps.chaos import DURABLE
from tests.integration.deployments import QUEUE, Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle

WORKERS, SLOTS, PREFETCHED = 2, 4, 4
AFTER_THE_COMMIT = 1.25
"""How much longer a body takes than it works before its commit."""
DELIVERIES = (2, 5)
LOST = 0.25
"""How many of the messages that the store keeps are lost by the broker."""


@pytest.mark.parametrize(
    ("visibility_timeout", "body", "rounds"),
    [(1.0, 1.6, 4), pytest.param(5.0, 8.0, 12, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_messages_that_come_again_while_their_tasks_run_or_not_at_all_take_effect_once(
    visibility_timeout: float, body: float, rounds: int, tmp_path: Path
) -> None:
    ours = settings()
    ours["broker_transport_options"]["visibility_timeout"] = visibility_timeout
    ours["worker_prefetch_multiplier"] = PREFETCHED
    with Deployment("chaos", tmp_path, ours, journaled_server()) as site:
        expected: list[Expected] = []
        for number in range(rounds):
            expected += _publish(site, f"round-{number}", body / AFTER_THE_COMMIT, DURABLE if number % 2 else "")
        lost = _delivered_again(site, random.Random(1))  # noqa: S311
        for _ in range(WORKERS):
            site.worker(slots=SLOTS)
        beat = site.beat()
        settle(site, expected)
        site.stop(beat)
        until_empty(site)
        verdict = judge(site, expected)
    assert verdict.wrong == []
    assert verdict.lost_by_the_broker == []
    assert lost > 0


def _delivered_again(site: Deployment, dice: random.Random) -> int:
    """Deliver each message two to five times, but some of those that the store keeps never; return how many."""
    lost = 0
    again: list[bytes] = []
    queue: Any = site.redis
    while message := queue.rpop(QUEUE):
        if json.loads(message)["headers"]["task"].endswith(DURABLE) and (lost == 0 or dice.random() < LOST):
            lost += 1
        else:
            again += [message] * dice.randint(*DELIVERIES)
    dice.shuffle(again)
    for message in again:
        site.deliver(message, under_a_new_tag=dice.random() < 0.5)
    return lost


def _publish(site: Deployment, prefix: str, seconds: float, kind: str) -> list[Expected]:
    """Publish a task, a chain, a chord and an update."""
    workflow = site.workflow()

    def append(name: str, task: str = "append") -> Any:
        signature = site.task(f"{task}{kind}").s(name=f"{prefix}-{name}", seconds=seconds)
        signature.freeze()
        return signature

    single, head, tail = append("single"), append("head"), append("tail")
    members, body = [append("left"), append("right")], append("body", "gather")
    with workflow, denied_join_result():
        single.apply_async()
        chain(head, tail).apply_async()
        chord(members, body).apply_async()
        update = site.queue.enqueue_update(
            workflow.workflow_id, "writer", {"names": [f"{prefix}-update"]}, merge_strategy="append"
        )
    return [
        *(_expected("task", workflow, each, []) for each in (single, head, *members)),
        _expected("link of a chain", workflow, tail, [head]),
        _expected("body of a chord", workflow, body, members),
        Expected(update.id, f"{prefix}-update", "enqueued update", workflow.workflow_id, None),
    ]


def _expected(kind: str, workflow: WorkflowHandle, signature: Any, ahead: list[Any]) -> Expected:
    names = [each.kwargs["name"] for each in (*ahead, signature)]
    return Expected(signature.id, names[-1], kind, workflow.workflow_id, names)
