"""``celery -A proj ctx policy explain``: which rule decides."""

from __future__ import annotations

from typing import Any

from celery import Celery

import ctxqueue
from tests.integration.commands import told

POLICY = {
    "rule": [{"name": "interns change no results", "agent_role": "intern", "key": "result_*", "deny": ["write"]}],
    "sensitive": [{"name": "payroll", "key": "payroll_*"}],
}


def explained(app: Celery, *arguments: str) -> dict[str, tuple[bool, str]]:
    rows: list[dict[str, Any]] = told(app, "policy", "explain", *arguments, "--json").rows()
    return {row["action"]: (row["may"], row["rule"]) for row in rows}


def test_the_deciding_rule_is_named() -> None:
    app = Celery("ruled", set_as_current=False, broker="memory://")
    app.conf.ctxqueue_policy = POLICY
    ctxqueue.install(app, backend_url="memory://")
    intern = ("--agent-id", "helper_1", "--role", "intern")
    said = explained(app, *intern, "--key", "result_1")
    assert said == {
        "read": (True, "the default"),
        "write": (False, "interns change no results"),
        "delete": (True, "the default"),
    }
    assert explained(app, *intern, "--key", "payroll_1")["read"] == (False, "the default for sensitive entries")
    table = told(app, "policy", "explain", *intern, "--key", "payroll_1").stdout
    assert "rule: payroll" in table
    assert told(app, "policy", "explain", "--agent-id", "helper_1", "--key", "").status == 2


def test_the_shipped_rules_are_there_without_a_policy() -> None:
    app = Celery("shipped", set_as_current=False, broker="memory://")
    ctxqueue.install(app, backend_url="memory://")
    extractor = ("--agent-id", "web_extractor_001")
    assert explained(app, *extractor, "--key", "site_credentials")["read"] == (True, "web extractors read credentials")
    assert explained(app, *extractor, "--key", "rates_api_key")["read"] == (False, "the default for sensitive entries")


def test_a_policy_that_is_wrong_stops_the_app_with_its_line(tmp_path: Any) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nalow = ["read"]\n')
    app = Celery("wrong", set_as_current=False, broker="memory://")
    ctxqueue.install(app, backend_url="memory://", policy=str(path))
    refused = told(app, "policy", "explain", "--agent-id", "a", "--key", "k")
    assert (refused.status, "line 2" in refused.stderr) == (1, True)
