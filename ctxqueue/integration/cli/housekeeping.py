"""What beat does by itself, now: ``sweep``, ``retention``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ctxqueue.integration.cli.arguments import json_option
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import one_out, plain, say

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue


@command("sweep", example="celery -A proj ctx sweep --limit 10000")
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True, help="Expired entries.")
@json_option
def sweep(queue: ContextQueue, *, limit: int, as_json: bool) -> None:
    """Remove expired entries, and send on its way what is overdue; ends with status 0 if more is due, and says so."""
    report = queue.manager.cleanup_expired_contexts(limit=limit)
    if as_json:
        one_out(plain(report), as_json=True)
        return
    say(f"{report.scanned} were due: {report.expired} expired, {report.kept} kept; {report.seconds:.2f} s")
    if not report.complete:
        say("more is due: run it again, with a higher --limit")


@command(
    "retention",
    example="""
        celery -A proj ctx retention
        celery -A proj ctx retention --apply --archive archive
    """,
)
@click.option("--apply", is_flag=True, help="Remove them; without it nothing is changed.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Memories.")
@click.option("--archive", type=click.Path(file_okay=False), help="A folder that gets a file with what goes.")
@json_option
def retention(queue: ContextQueue, *, apply: bool, limit: int, archive: str | None, as_json: bool) -> None:
    """Say which memories are too old, or too many, by type; with --apply remove them."""
    folder = archive or queue.app.conf.get("ctxqueue_memory_archive")
    report = queue.memory.apply_retention(dry_run=not apply, limit=limit, archive=folder if apply else None)
    if as_json:
        one_out(plain(report), as_json=True)
        return
    for kind, counts in sorted(report.removed.items()):
        say(f"{kind}: " + ", ".join(f"{count} {why}" for why, count in sorted(counts.items())))
    done = "removed" if apply else "would go; --apply removes them"
    say(f"{report.total} memories of {report.owners} owners {done}")
    if not report.complete:
        say("there is more: run it again")
    if report.archive:
        say(f"archived in {report.archive}")


COMMANDS = {"sweep": sweep, "retention": retention}
