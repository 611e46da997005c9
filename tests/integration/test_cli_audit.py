"""``celery -A proj ctx audit export``: the audit log as JSON Lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from tests.integration.commands import told

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

CANARY = "canary-0815"


@pytest.fixture
def queue(redis_url: str) -> ContextQueue:
    app = Celery("audited", set_as_current=False, broker="memory://")
    queue = ctxqueue.install(app, backend_url=redis_url)
    for n in range(3):
        handle = queue.workflow(f"w-{n}", agent_id="financial_calculator_1")
        handle.open()
        handle.put("rates_api_key", CANARY)
        assert handle["rates_api_key"].reveal() == CANARY
        assert queue.workflow(f"w-{n}", agent_id="helper_1").get("rates_api_key") is None
    return queue


def exported(queue: ContextQueue, *arguments: str) -> list[dict[str, Any]]:
    lines = told(queue.app, "audit", "export", *arguments).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_it_comes_as_lines_of_json_in_order_of_time_without_a_value(queue: ContextQueue) -> None:
    lines = exported(queue)
    assert [line["action"] for line in lines] == ["wrote", "read", "revealed", "denied"] * 3
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert lines[0]["entries"] == [{"key": "rates_api_key", "scope": "workflow", "owner": "", "version": 1}]
    assert (lines[3]["agent_id"], lines[3]["workflow_id"]) == ("helper_1", "w-0")
    assert CANARY not in repr(lines)


def test_it_is_narrowed_by_time_action_and_number(queue: ContextQueue) -> None:
    assert len(exported(queue, "--action", "denied", "--action", "wrote")) == 6
    assert len(exported(queue, "--limit", "2")) == 2
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert exported(queue, "--since", tomorrow) == []
    assert len(exported(queue, "--until", tomorrow)) == 12


def test_a_record_names_the_task_that_it_was_made_in() -> None:
    app = Celery("eager", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.task_always_eager = True
    queue = ctxqueue.install(app, backend_url="memory://")

    @queue.task(agent_type="financial_calculator")
    def calculate(self: Any) -> None:
        self.context.put("rates_api_key", CANARY)
        assert self.context["rates_api_key"].reveal() == CANARY

    with queue.workflow("w") as workflow:
        workflow.open()
        result = calculate.delay()
    records = list(queue.manager.audit())
    assert [(record.action, record.agent_type, record.task_id) for record in records] == [
        (action, "financial_calculator", result.id) for action in ("wrote", "read", "revealed")
    ]


@pytest.mark.parametrize("mistake", [("--since", "yesterday"), ("--action", "looked"), ("--limit", "x")])
def test_what_is_no_time_action_or_number_is_said(queue: ContextQueue, mistake: tuple[str, str]) -> None:
    refused = told(queue.app, "audit", "export", *mistake)
    assert (refused.status, mistake[1] in refused.stderr) == (2, True)
