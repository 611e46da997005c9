"""``celery -A proj ctx watch``: what changes, as it happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from celery import Celery

import ctxqueue
from tests.integration.commands import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue

SOON = ("--timeout", "0.05")


@pytest.fixture
def queue() -> Iterator[ContextQueue]:
    app = Celery("watched", set_as_current=False, broker="memory://", backend="cache+memory://")
    queue = ctxqueue.install(app, backend_url="memory://")
    writer = queue.workflow("q3", agent_id="filler_1")
    writer.open()
    writer.put("rate_usd", 1)
    writer.put("note", "mine", scope="private")
    writer.put("api_key", "s3cret")
    writer.delete("rate_usd")
    yield queue
    queue.manager.close()


def test_changes_are_shown_as_they_come_and_where_to_go_on(queue: ContextQueue) -> None:
    seen = told(queue.app, "watch", "q3", "--from", "0", "--json", *SOON)
    assert [(row["revision"], row["kind"], row["key"]) for row in seen.rows()] == [
        *((1, "put", "rate_usd"), (2, "put", "note"), (3, "put", "api_key"), (4, "deleted", "rate_usd")),
    ]
    cursor = re.search(r"--from (\S+)", seen.stderr)
    assert cursor is not None
    queue.workflow("q3").put("late", 1)
    later = told(queue.app, "watch", "q3", "--from", cursor[1], "--json", *SOON).rows()
    assert [row["key"] for row in later] == ["late"]


def test_a_pattern_a_limit_and_an_agents_eyes(queue: ContextQueue) -> None:
    rates = told(queue.app, "watch", "q3", "rate_*", "--from", "0", "--json", *SOON).rows()
    assert [row["revision"] for row in rates] == [1, 4]
    assert len(told(queue.app, "watch", "q3", "--from", "0", "--limit", "2", "--json").rows()) == 2
    others = told(queue.app, "watch", "q3", "--from", "0", "--agent", "other_1", "--json", *SOON).rows()
    assert {row["key"] for row in others} == {"rate_usd"}


def test_values_are_shown_where_they_are_asked_for_and_no_secret(queue: ContextQueue) -> None:
    queue.workflow("q3").put("plain", {"a": 1})
    shown = told(queue.app, "watch", "q3", "--from", "0", "--values", *SOON).stdout
    assert 'plain v2 by SYSTEM: {"a": 1}' in shown
    assert "s3cret" not in shown
    assert "s3cret" in told(queue.app, "watch", "q3", "--from", "0", "--values", "--reveal", *SOON).stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["nowhere"], 1), (["q3", "--from", "junk"], 2), (["q3", "--from", "99"], 1), (["q3", "--timeout", "0"], 2)],
)
def test_what_is_wrong_is_one_line_and_a_status(queue: ContextQueue, arguments: list[str], status: int) -> None:
    refused = told(queue.app, "watch", *arguments)
    assert (refused.status, refused.stdout) == (status, "")
    assert "Error: " in refused.stderr
    assert "go on with" not in refused.stderr
