"""What changes, as it happens: ``watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ctxqueue.errors import ReadError, StateError
from ctxqueue.integration.cli.arguments import (
    Seconds,
    agent_options,
    handle_of,
    json_option,
    limit_option,
    reveal_option,
    workflow_argument,
)
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import cell, line_out, plain, say, short, styled
from ctxqueue.models import Change

if TYPE_CHECKING:
    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue

COLOURS = {"put": "green", "deleted": "red", "expired": "yellow", "evicted": "yellow"}


@command(
    "watch",
    example="""
        celery -A proj ctx watch q3-close
        celery -A proj ctx watch q3-close 'rate_*' --from 0 --values --timeout 5
    """,
)
@workflow_argument
@click.argument("pattern", default="*")
@click.option("--from", "from_revision", help="A revision, or where a watch before ended; 0: all that the log has.")
@click.option("--timeout", type=Seconds(min_open=True), help="End when nothing came for so many seconds.")
@click.option("--values", is_flag=True, help="Show what stands there when the change is shown; it may be newer.")
@limit_option
@agent_options
@reveal_option
@json_option
def watch(
    queue: ContextQueue,
    *,
    workflow_id: str,
    pattern: str,
    from_revision: str | None,
    timeout: float | None,
    values: bool,
    limit: int | None,
    reveal: bool,
    as_json: bool,
    **agent: Any,
) -> None:
    """Show what changes under keys like PATTERN, as it happens, until Ctrl-C; then say where to go on."""
    handle = handle_of(queue, workflow_id, **agent)
    start = int(from_revision) if from_revision is not None and from_revision.isdecimal() else from_revision
    watching = handle.watch(pattern, from_revision=start, timeout=timeout)
    shown = 0
    goes_on = True
    try:
        for item in watching:
            if isinstance(item, Change):
                _show(item, _value(handle, item, reveal=reveal) if values else {}, as_json=as_json)
                shown += 1
            if shown == limit:
                break
    except KeyboardInterrupt:
        pass
    except (StateError, ReadError):  # the log is not what it was: there is nowhere to go on
        goes_on = False
        raise
    finally:
        if goes_on:
            click.echo(f"go on with --from {watching.cursor}", err=True)


def _value(handle: WorkflowHandle, change: Change, *, reveal: bool) -> dict[str, Any]:
    if change.kind != "put" or (change.owner and change.owner != handle.agent.agent_id):
        return {}
    group = change.owner if change.scope.value == "agent_group" else None
    entry = handle.get(change.key, scope=change.scope, group=group, reveal=reveal)
    return {} if entry is None else {"value": entry.value}


def _show(change: Change, value: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        line_out({**plain(change), **value})
        return
    what = styled(change.kind.ljust(8), fg=COLOURS[change.kind])
    where = f"{change.owner}/{change.key}" if change.owner else change.key
    by = f" by {change.agent_id}" if change.agent_id else ""
    shown = f": {short(value['value'])}" if value else ""
    say(f"{cell(change.at)}  {change.revision:>7}  {what}  {cell(where)} v{change.version}{cell(by)}{cell(shown)}")


COMMANDS = {"watch": watch}
