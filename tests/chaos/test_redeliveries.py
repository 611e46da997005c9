"""Messages that come again and again: tasks outlive the visibility timeout, and each message comes 2 to 5 times."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.result import denied_join_result

from tests.chaos.judge import judge
from tests.chaos.run import journaled_server, settings
from tests.chaos.settling import settle, until_empty
from tests.chaos.work import Expected
from tests.integration.deployments import ASIDE, Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle

WORKERS, SLOTS, PREFETCHED = 2, 4, 4
AFTER_THE_COMMIT = 1.25
"""How much longer a body takes than it works before its commit."""
DELIVERIES = (2, 5)


@pytest.mark.parametrize(
    ("visibility_timeout", "body", "rounds"),
    [(1.0, 1.6, 4), pytest.param(5.0, 8.0, 12, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_messages_that_come_again_while_their_tasks_run_take_effect_once(
    visibility_timeout: float, body: float, rounds: int, tmp_path: Path
) -> None:
    ours = settings()
    ours["broker_transport_options"]["visibility_timeout"] = visibility_timeout
    ours["worker_prefetch_multiplier"] = PREFETCHED
    dice = random.Random()  # noqa: S311
    with Deployment("chaos", tmp_path, ours, journaled_server()) as site:
        for _ in range(WORKERS):
            site.worker(slots=SLOTS)
        beat = site.beat()
        expected: list[Expected] = []
        for number in range(rounds):
            expected += _publish(site, f"round-{number}", body / AFTER_THE_COMMIT)
        messages = [each for each in site.all_intercepted() for _ in range(dice.randint(*DELIVERIES))]
        dice.shuffle(messages)
        for message in messages:
            site.deliver(message, under_a_new_tag=dice.random() < 0.5)
        settle(site, expected)
        site.stop(beat)
        until_empty(site)
        verdict = judge(site, expected)
    assert verdict.wrong == []
    assert verdict.lost_by_the_broker == []


def _publish(site: Deployment, prefix: str, seconds: float) -> list[Expected]:
    """Publish a task, a chain, a chord and an update, the heads of all to the queue that no worker reads."""
    workflow = site.workflow()

    def append(name: str, task: str = "append") -> Any:
        signature = site.task(task).s(name=f"{prefix}-{name}", seconds=seconds)
        signature.freeze()
        return signature

    single, head, tail = append("single"), append("head"), append("tail")
    members, body = [append("left"), append("right")], append("body", "gather")
    for each in (single, head, *members):
        each.set(queue=ASIDE)
    with workflow, denied_join_result():
        single.apply_async()
        chain(head, tail).apply_async()
        chord(members, body).apply_async()
        update = site.queue.enqueue_update(
            workflow.workflow_id, "writer", {"names": [f"{prefix}-update"]}, merge_strategy="append", queue=ASIDE
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
