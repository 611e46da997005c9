"""What was: ``history`` of an entry, ``changes`` of a workflow, ``diff`` between two of its revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ctxqueue.errors import RevisionTrimmed
from ctxqueue.integration.cli.arguments import (
    agent_options,
    every,
    handle_of,
    json_option,
    key_argument,
    limit_option,
    reveal_option,
    scope_options,
    workflow_argument,
)
from ctxqueue.integration.cli.commands import Told, command
from ctxqueue.integration.cli.output import entry_fields, plain, rows_out, say, short, styled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.models import Change, ContextEntry, Page
    from ctxqueue.views import AgentContext

SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@command("history", example="celery -A proj ctx history q3-close exchange_rates --limit 5")
@workflow_argument
@key_argument
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@scope_options
@agent_options
@reveal_option
@json_option
def history(
    queue: ContextQueue,
    *,
    workflow_id: str,
    key: str,
    limit: int,
    scope: str | None,
    of_group: str | None,
    reveal: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """List the versions that are kept of an entry, the newest first."""
    handle = handle_of(queue, workflow_id, **agent)
    found = handle.history(key, limit=limit, scope=scope, group=of_group, reveal=reveal)
    if not found:
        raise Told(f"workflow {workflow_id!r} has no entry {key!r}, nor a version of one that was")
    rows_out((entry_fields(entry) if as_json else _version(entry) for entry in found), as_json=as_json)


def _version(entry: ContextEntry) -> dict[str, Any]:
    return {
        "version": entry.version,
        "revision": entry.revision,
        "written": entry.timestamp,
        "by": entry.agent_id,
        "value": short(entry.value),
    }


@command(
    "changes",
    example="""
        celery -A proj ctx changes q3-close
        celery -A proj ctx changes q3-close --from 2 --json
    """,
)
@workflow_argument
@click.option("--from", "from_revision", type=click.IntRange(min=0), help="After this revision; default: all kept.")
@limit_option
@agent_options
@json_option
def changes(
    queue: ContextQueue,
    *,
    workflow_id: str,
    from_revision: int | None,
    limit: int | None,
    as_json: bool,
    **agent: Any,
) -> None:
    """List what has changed, the oldest first; never a value."""
    handle = handle_of(queue, workflow_id, **agent)
    start = _oldest_kept(queue, workflow_id) if from_revision is None else from_revision

    def page(most: int, cursor: str | None) -> Page[Change]:
        nonlocal start
        while True:
            try:
                return handle.changes(start, limit=most, cursor=cursor)
            except RevisionTrimmed:  # the oldest record went since it was looked at
                if cursor is not None or from_revision is not None:
                    raise
                start = _oldest_kept(queue, workflow_id)

    found = every(page, limit)
    rows = (plain(change) if as_json else _change(change) for change in found)
    rows_out(rows, as_json=as_json, empty="no changes")


def _oldest_kept(queue: ContextQueue, workflow_id: str) -> int:
    kept = queue.manager.summary(workflow_id)
    return kept.revision - kept.log_records


def _change(change: Change) -> dict[str, Any]:
    return {
        "revision": change.revision,
        "at": change.at,
        "what": change.kind,
        "version": change.version,
        "by": change.agent_id or "-",
        "scope": f"{change.scope.value} {change.owner}".rstrip(),
        "key": change.key,
    }


@command(
    "diff",
    example="""
        celery -A proj ctx diff q3-close 2 4
        celery -A proj ctx diff q3-close 2
    """,
)
@workflow_argument
@click.argument("earlier", type=click.IntRange(min=0))
@click.argument("later", type=click.IntRange(min=0), required=False)
@agent_options
@reveal_option
@json_option
def diff(
    queue: ContextQueue,
    *,
    workflow_id: str,
    earlier: int,
    later: int | None,
    reveal: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """Say how the workflow differs between the revisions EARLIER and LATER (default: now), as the agent sees it."""
    handle = handle_of(queue, workflow_id, **agent)
    until = queue.manager.summary(workflow_id).revision if later is None else later
    old, new = handle.at(earlier, reveal=reveal), handle.at(until, reveal=reveal)
    found = _differences(old, new)
    if as_json:
        rows_out(found, as_json=True)
        return
    for each in found:
        sign, colour = SIGNS[each["what"]]
        values = [short(each[side]) for side in ("old", "new") if side in each]
        say(styled(f"{sign} {each['key']}: {' -> '.join(values)}", fg=colour))


def _differences(old: AgentContext, new: AgentContext) -> Iterator[dict[str, Any]]:
    for key in sorted({*old, *new}):
        if key not in new:
            yield {"what": "removed", "key": key, "old": old[key]}
        elif key not in old:
            yield {"what": "added", "key": key, "new": new[key]}
        elif old.entry(key).version != new.entry(key).version:
            yield {"what": "changed", "key": key, "old": old[key], "new": new[key]}


COMMANDS = {"history": history, "changes": changes, "diff": diff}
