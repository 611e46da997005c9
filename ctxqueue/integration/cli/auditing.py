"""Who did what to what is sensitive: ``audit export``."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, get_args

import click

from ctxqueue.effects import AuditAction
from ctxqueue.integration.cli.arguments import limit_option
from ctxqueue.integration.cli.commands import Subcommands, command
from ctxqueue.integration.cli.output import line_out, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.audited import AuditRecord
    from ctxqueue.integration.install import ContextQueue

FIRST, AT_ONCE = 20, 1_000
"""Records of the first page, which is to come at once, and of the others."""


class Instant(click.ParamType[datetime]):
    """A time as ISO 8601 has it; without a zone it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> datetime:
        """Return it, or end the command with what is wrong."""
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r:.60} is no time: give one like 2026-11-25T08:30:00Z", param, context)
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@click.group(cls=Subcommands)
def audit() -> None:
    """See who read, wrote, revealed or was denied what is sensitive."""


@command(
    "export",
    example="""
        celery -A proj ctx audit export > audit.jsonl
        celery -A proj ctx audit export --since 2026-11-25 --action denied --action refused
    """,
)
@click.option("--since", type=Instant(), help="From then on; without a zone it is UTC.")
@click.option("--until", type=Instant(), help="Up to then.")
@click.option("--action", "actions", multiple=True, type=click.Choice(get_args(AuditAction)), help="May be repeated.")
@limit_option
def export(
    queue: ContextQueue,
    *,
    since: datetime | None,
    until: datetime | None,
    actions: tuple[str, ...],
    limit: int | None,
) -> None:
    """Write the audit log as JSON Lines, oldest first, as it is read: names, versions and ids, never a value."""
    records = (record for record in _all(queue, since, until) if not actions or record.action in actions)
    for record in islice(records, limit):
        line_out(plain(record))
    if gone := queue.manager.audit_gone():
        click.echo(f"{gone} records had gone before, by ctxqueue_audit_limit or _age", err=True)


def _all(queue: ContextQueue, since: datetime | None, until: datetime | None) -> Iterator[AuditRecord]:
    cursor, most = None, FIRST
    while True:
        page = queue.manager.audit(since=since, until=until, limit=most, cursor=cursor)
        yield from page
        cursor, most = page.next_cursor, AT_ONCE
        if cursor is None:
            return


audit.add_command(export)
COMMANDS = {"audit": audit}
