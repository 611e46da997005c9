"""Which workflows there are, and what stands in one: ``workflows``, ``show``, ``stats``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration.cli.arguments import (
    SCOPES,
    Seconds,
    agent_options,
    all_workflows,
    every,
    handle_of,
    json_option,
    limit_option,
    of_workflows,
    optional_workflow,
    reveal_option,
    workflow_argument,
)
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import entry_fields, one_out, rows_out, say, short, styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import ContextEntry, WorkflowSummary


@command("workflows", example="celery -A proj ctx workflows q3-")
@click.argument("prefix", default="")
@limit_option
@json_option
def workflows(queue: ContextQueue, *, prefix: str, limit: int | None, as_json: bool) -> None:
    """List the workflows, or those whose id begins with PREFIX."""
    found = every(lambda most, at: queue.manager.workflows(prefix=prefix, limit=most, cursor=at), limit)
    rows = (asdict(each) if as_json else _glance(each) for each in found)
    rows_out(rows, as_json=as_json, empty="no workflows")


def _glance(each: WorkflowSummary) -> dict[str, Any]:
    return {
        "workflow": each.workflow_id,
        "revision": each.revision,
        "entries": each.entries,
        "bytes": each.bytes,
        "triggers": each.triggers,
        "dead": each.dead_letters,
        "state": "closed" if each.closed_at else "open",
        "created": each.created_at,
        "metadata": short(each.metadata),
    }


@command(
    "show",
    example="""
        celery -A proj ctx show q3-close
        celery -A proj ctx show q3-close --agent web_extractor_001 --json
    """,
)
@workflow_argument
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--scope", type=SCOPES, help="Only this one.")
@limit_option
@agent_options
@reveal_option
@json_option
def show(
    queue: ContextQueue,
    *,
    workflow_id: str,
    prefix: str,
    scope: str | None,
    limit: int | None,
    reveal: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """Show a workflow and its entries; with --json the entries alone, an object a line."""
    handle = handle_of(queue, workflow_id, **agent)
    if not as_json:
        _headline(queue.manager.summary(workflow_id))
    found = every(lambda most, at: handle.list(prefix=prefix, scope=scope, limit=most, cursor=at, reveal=reveal), limit)
    rows = (entry_fields(entry) if as_json else _row(entry) for entry in found)
    rows_out(rows, as_json=as_json, empty="no entries")


def _headline(each: WorkflowSummary) -> None:
    state = f"closed {each.closed_at:%Y-%m-%d %H:%M}" if each.closed_at else "open"
    held = f"{each.entries} entries, {each.bytes} bytes, {each.triggers} triggers, {each.log_records} log records"
    say(f"{styled(each.workflow_id, bold=True)}: {state}, revision {each.revision}, {held}")
    if each.metadata:
        say(f"metadata: {short(each.metadata)}")


def _row(entry: ContextEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "scope": f"{entry.scope.value} {entry.owner}".rstrip(),
        "version": entry.version,
        "priority": entry.priority.value,
        "written": entry.timestamp,
        "by": entry.agent_id,
        "expires": entry.expires_at,
        "value": short(entry.value),
    }


@command("stats", example="celery -A proj ctx stats q3-close")
@optional_workflow
@json_option
def stats(queue: ContextQueue, *, workflow_id: str | None, as_json: bool) -> None:
    """Count what a workflow holds, or all workflows together."""
    counts = _of_one(queue, workflow_id) if workflow_id is not None else _of_all(queue)
    one_out(counts, as_json=as_json)


def _of_one(queue: ContextQueue, workflow_id: str) -> Mapping[str, Any]:
    counts = asdict(queue.manager.summary(workflow_id))
    del counts["triggers"]
    return counts | _triggers_by_state(queue.workflow(workflow_id))


def _triggers_by_state(handle: WorkflowHandle) -> dict[str, int]:
    states = Counter(trigger.state for trigger in handle.triggers())
    return {f"triggers_{state.lower()}": count for state, count in sorted(states.items())}


def _of_all(queue: ContextQueue) -> Mapping[str, Any]:
    totals: Counter[str] = Counter()
    for each in all_workflows(queue):
        totals["workflows"] += 1
        totals["closed"] += each.closed_at is not None
        for name in ("entries", "bytes", "log_records", "stored_updates", "dead_letters", "triggers"):
            totals[name] += getattr(each, name)
    return dict(totals) or {"workflows": 0}


@command(
    "unread",
    example="""
        celery -A proj ctx unread q3-close
        celery -A proj ctx unread --older-than 3600 --json
    """,
)
@optional_workflow
@click.option(
    "--older-than",
    type=Seconds(),
    default=0.0,
    help="Only entries written so long ago, in seconds.",
)
@limit_option
@json_option
def unread(
    queue: ContextQueue, *, workflow_id: str | None, older_than: float, limit: int | None, as_json: bool
) -> None:
    """List entries that no other agent ever read: pollution. Private ones, and what others depend on, are left out.

    It goes by what tasks note where ctxqueue_note_reads is set: a read outside a task, or before that, is not known.
    """
    if not queue.app.conf.get("ctxqueue_note_reads"):
        click.echo("ctxqueue_note_reads is not set here: what nobody notes looks unread", err=True)
    latest = datetime.now(UTC) - timedelta(seconds=older_than)
    found = (
        (name, entry)
        for name, entry in of_workflows(queue, workflow_id, lambda each: _unread(queue, each))
        if entry.timestamp <= latest
    )
    rows = ({"workflow": name, **(entry_fields(entry) if as_json else _row(entry))} for name, entry in found)
    rows_out(rows, as_json=as_json, empty="everything was read", limit=limit)


def _unread(queue: ContextQueue, workflow_id: str) -> Iterator[ContextEntry]:
    return every(lambda most, at: queue.manager.unread(workflow_id, limit=most, cursor=at), None)


COMMANDS = {"unread": unread, "workflows": workflows, "show": show, "stats": stats}
