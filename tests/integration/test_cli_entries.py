"""``celery -A proj ctx``: workflows, entries and what they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.apps import parking
from tests.integration.commands import told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.integration.install import ContextQueue


@pytest.fixture
def queue() -> Iterator[ContextQueue]:
    settings = {"broker_url": "memory://", "result_backend": "disabled://", "ctxqueue_backend_url": "memory://"}
    queue = parking.build({"sample_url": None, **settings})
    writer = queue.workflow("q3", agent_id="filler_1", groups=["audit"])
    writer.open({"owner": "finance"})
    writer.put("revenue", {"eur": 1})
    writer.put("revenue", {"eur": 2}, priority="high", metadata={"source": "erp"})
    writer.put("api_key", "s3cret")
    writer.put("note", "mine", scope="private")
    writer.put("plan", "ours", group="audit")
    yield queue
    queue.manager.close()


def test_workflows_are_listed_by_how_their_ids_begin(queue: ContextQueue) -> None:
    for name in ("q4", "r1"):
        queue.workflow(name).open()
    assert {row["workflow_id"] for row in told(queue.app, "workflows", "--json").rows()} == {"q3", "q4", "r1"}
    assert {row["workflow_id"] for row in told(queue.app, "workflows", "q", "--json").rows()} == {"q3", "q4"}
    assert len(told(queue.app, "workflows", "--limit", "2", "--json").rows()) == 2
    assert "q3" in told(queue.app, "workflows").stdout
    assert told(queue.app, "workflows", "nothing").stdout == "no workflows\n"


def test_a_workflow_is_shown_with_its_entries_and_no_secret(queue: ContextQueue) -> None:
    shown = told(queue.app, "show", "q3")
    assert shown.stdout.startswith("q3: open, revision 5, 4 entries")
    assert "s3cret" not in shown.stdout
    entries = {row["key"]: row for row in told(queue.app, "show", "q3", "--json").rows()}
    assert set(entries) == {"revenue", "api_key", "note", "plan"}
    assert entries["api_key"]["value"] == "<redacted>"
    assert (entries["revenue"]["value"], entries["note"]["owner"]) == ({"eur": 2}, "filler_1")
    assert "s3cret" in told(queue.app, "show", "q3", "--reveal").stdout


def test_an_agents_eyes_see_what_it_may_read(queue: ContextQueue) -> None:
    seen = told(queue.app, "show", "q3", "--agent", "other_1", "--json").rows()
    assert [row["key"] for row in seen] == ["revenue"]
    seen = told(queue.app, "show", "q3", "--agent", "other_1", "--group", "audit", "--json").rows()
    assert [row["key"] for row in seen] == ["plan", "revenue"]
    reader = ("--agent", "filler_1", "--scope", "private")
    assert told(queue.app, "get", "q3", "note", *reader).stdout == '"mine"\n'
    assert told(queue.app, "get", "q3", "note", "--agent", "other_1").status == 1


def test_a_sensitive_value_is_got_only_with_reveal(queue: ContextQueue) -> None:
    refused = told(queue.app, "get", "q3", "api_key")
    assert (refused.status, refused.stdout) == (1, "")
    assert "--reveal" in refused.stderr
    assert told(queue.app, "get", "q3", "api_key", "--json").rows()[0]["value"] == "<redacted>"
    assert told(queue.app, "get", "q3", "api_key", "--reveal").stdout == '"s3cret"\n'
    for command in (["history", "q3", "api_key"], ["diff", "q3", "1"], ["changes", "q3"]):
        assert "s3cret" not in told(queue.app, *command, "--json").stdout


def test_values_are_written_from_the_line_from_standard_input_and_from_a_file(
    queue: ContextQueue, tmp_path: Path
) -> None:
    (tmp_path / "value.json").write_text("[1, 2]", encoding="utf-8")
    assert told(queue.app, "put", "q3", "a", '{"b": [1.5, null]}').stdout.startswith("a is at version 1")
    assert told(queue.app, "put", "q3", "b", "-", given='"from stdin"').status == 0
    assert told(queue.app, "put", "q3", "c", f"@{tmp_path / 'value.json'}").status == 0
    assert told(queue.app, "put", "q3", "d", "plain words", "--text").status == 0
    assert told(queue.app, "put", "q3", "e", "-", "--text", given="piped\n").status == 0
    view = queue.workflow("q3").view()
    assert [view[key] for key in "abcde"] == [{"b": [1.5, None]}, "from stdin", [1, 2], "plain words", "piped"]


def test_a_workflow_is_made_only_where_that_is_said(queue: ContextQueue) -> None:
    assert told(queue.app, "put", "new", "k", "1").status == 1
    assert told(queue.app, "put", "new", "k", "1", "--open").status == 0
    assert told(queue.app, "update", "newer", '{"k": 1}', "--open").status == 0
    assert queue.workflow("newer")["k"] == 1


def test_an_entrys_options_are_kept(queue: ContextQueue) -> None:
    options = ("--priority", "high", "--ttl", "60", "--pinned", "--sensitive", "--depends-on", "revenue")
    told(queue.app, "put", "q3", "a", "1", *options, "--metadata", '{"by": "hand"}', "--agent", "clerk_1")
    entry = queue.workflow("q3").get("a")
    assert entry is not None
    assert (entry.priority.value, entry.pinned, entry.sensitive) == ("high", True, True)
    assert (entry.dependencies, entry.metadata, entry.agent_id) == (("revenue",), {"by": "hand"}, "clerk_1")
    assert entry.expires_at is not None


def test_a_version_that_is_not_the_expected_one_is_a_conflict(queue: ContextQueue) -> None:
    conflict = told(queue.app, "put", "q3", "revenue", "1", "--expected-version", "1")
    assert (conflict.status, "version" in conflict.stderr) == (1, True)
    assert told(queue.app, "put", "q3", "revenue", "1", "--expected-version", "2").status == 0


def test_updates_merge_and_the_same_operation_does_nothing_more(queue: ContextQueue) -> None:
    command = ("update", "q3", '{"visits": 2}', "--strategy", "increment", "--operation-id", "once", "--json")
    assert [told(queue.app, *command).rows()[0]["replayed"] for _ in range(2)] == [False, True]
    assert told(queue.app, "update", "q3", "-", given='{"revenue": {"usd": 3}}').status == 0
    view = queue.workflow("q3").view()
    assert (view["visits"], view["revenue"]) == (2, {"eur": 2, "usd": 3})


def test_an_entry_is_removed_once_and_purged_when_that_is_confirmed(queue: ContextQueue) -> None:
    assert told(queue.app, "delete", "q3", "revenue").status == 0
    assert told(queue.app, "delete", "q3", "revenue").status == 1
    assert len(queue.workflow("q3").history("revenue")) == 2
    assert told(queue.app, "delete", "q3", "revenue", "--purge", given="n\n").status == 1
    assert len(queue.workflow("q3").history("revenue")) == 2
    told(queue.app, "delete", "q3", "revenue", "--purge", "--yes")
    assert queue.workflow("q3").history("revenue") == []


def test_history_changes_and_a_diff(queue: ContextQueue) -> None:
    versions = told(queue.app, "history", "q3", "revenue", "--json").rows()
    assert [(row["version"], row["value"]) for row in versions] == [(2, {"eur": 2}), (1, {"eur": 1})]
    changes = told(queue.app, "changes", "q3", "--json").rows()
    assert [row["key"] for row in changes] == ["revenue", "revenue", "api_key", "note", "plan"]
    assert [row["key"] for row in told(queue.app, "changes", "q3", "--from", "3", "--json").rows()] == ["note", "plan"]
    queue.workflow("q3").delete("api_key")
    diff = told(queue.app, "diff", "q3", "1").stdout.splitlines()
    assert diff == ['~ revenue: {"eur": 1} -> {"eur": 2}']
    assert told(queue.app, "diff", "q3", "3", "6").stdout == '- api_key: "<redacted>"\n'


def test_what_is_counted(queue: ContextQueue) -> None:
    assert told(queue.app, "stats", "q3", "--json").rows()[0]["entries"] == 4
    queue.workflow("q4").open()
    totals = told(queue.app, "stats", "--json").rows()[0]
    assert (totals["workflows"], totals["entries"], totals["log_records"]) == (2, 4, 5)


def test_a_name_cannot_move_the_cursor(queue: ContextQueue) -> None:
    queue.workflow("q3").put("\u202eevil\x9b2J", "\x1b[2J")
    shown = told(queue.app, "show", "q3").stdout
    assert not set("\x1b\x9b\u202e") & set(shown)
    assert "evil" in shown


WRONG: list[tuple[list[str], int]] = [
    (["show", "nowhere"], 1),
    (["get", "nowhere", "k"], 1),
    (["get", "q3", "k"], 1),
    (["get", "q3", "k", "--scope", "everywhere"], 2),
    (["get", "q3", "k", "--scope", "agent_group"], 2),
    (["get", "q3"], 2),
    (["put", "q3", "k", "{'single': 'quotes'}"], 2),
    (["put", "q3", "k", "NaN"], 2),
    (["put", "q3", "k", "[" * 100_000], 2),
    (["put", "q3", "k", "@/nowhere/value.json"], 2),
    (["put", "q3", "k", "1", "--ttl", "-1"], 2),
    (["put", "q3", "k", "1", "--metadata", "[]"], 2),
    (["put", "q3", "", "1"], 2),
    (["put", "q3", "k", "1", "--agent", "SYSTEM"], 2),
    (["update", "q3", "[]"], 2),
    (["update", "q3", '{"a": 1}', "--strategy", "guess"], 2),
    (["history", "nowhere", "k"], 1),
    (["history", "q3", "nothing"], 1),
    (["changes", "q3", "--from", "99"], 1),
    (["diff", "q3", "99"], 1),
    (["diff", "q3", "one"], 2),
    (["stats", "nowhere"], 1),
    (["show", "q3", "--limit", "0"], 2),
]


@pytest.mark.parametrize(("arguments", "status"), WRONG, ids=[" ".join(each)[:40] for each, _ in WRONG])
def test_what_is_wrong_is_one_line_and_a_status(queue: ContextQueue, arguments: list[str], status: int) -> None:
    refused = told(queue.app, *arguments)
    assert (refused.status, refused.stdout) == (status, "")
    assert "Error: " in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "postgresql://u:s3cret@127.0.0.1:1/x"])
def test_a_store_that_is_away_is_status_3(url: str) -> None:
    settings: dict[str, Any] = {"broker_url": "memory://", "result_backend": "disabled://", "sample_url": None}
    queue = parking.build({**settings, "ctxqueue_backend_url": url})
    refused = told(queue.app, "show", "q3")
    queue.manager.close()
    assert (refused.status, refused.stderr.count("\n"), "s3cret" in refused.stderr) == (3, 1, False)


def test_json_has_a_line_for_each(queue: ContextQueue) -> None:
    queue.workflow("q3").put("text", "two\nlines \u2028 é")
    lines = told(queue.app, "show", "q3", "--json").stdout.split("\n")
    assert [json.loads(line)["value"] for line in lines if "text" in line] == ["two\nlines \u2028 é"]
