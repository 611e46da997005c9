"""``celery -A proj ctx ...``: commands that Celery's own program takes up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec
from celery.bin.base import CeleryCommand, handle_preload_options

from ctxqueue.errors import ConfigurationError, CtxqueueError
from ctxqueue.integration.check import findings
from ctxqueue.integration.installed import installed

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

MARKS = {"error": "red", "warning": "yellow"}


@click.group(name="ctx")
def ctx() -> None:
    """Look after the shared context of an app."""


def _queue(context: click.Context) -> ContextQueue:
    app = context.obj.app
    app.loader.import_default_modules()
    queue = installed(app)
    if queue is None:
        raise click.UsageError(f"ctxqueue is not installed in the app {app.main!r}: ctxqueue.install(app)")
    return queue


@ctx.command(cls=CeleryCommand)
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings.")
@click.pass_context
@handle_preload_options
def check(context: click.Context, *, as_json: bool) -> None:
    """Say how the app, its broker, result backend and store could break a guarantee, and what mends it.

    Ends with status 1 if there is an error; warnings alone are status 0.
    """
    from ctxqueue.integration.setup import look  # noqa: PLC0415 - it needs a worker's modules

    try:
        found = findings(look(_queue(context)))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for finding in found:
            _tell(context.obj, finding)
        errors = sum(finding.severity == "error" for finding in found)
        click.echo(f"{errors} errors, {len(found) - errors} warnings" if found else "nothing to mend")
    sys.exit(int(any(finding.severity == "error" for finding in found)))


@ctx.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def migrate(context: click.Context) -> None:
    """Bring the tables of an SQL store up to date. Harmless when they are, and when several processes do it at once.

    Example: celery -A proj ctx migrate
    """
    from ctxqueue.stores.base import is_sql  # noqa: PLC0415 - only this command needs it

    try:
        url = _queue(context).url
        if not is_sql(url):
            raise click.UsageError("the store of this app is not an SQL database: there is nothing to migrate")
        from ctxqueue.stores.sql import migrate as upgraded  # noqa: PLC0415

        revision = upgraded(url)
    except CtxqueueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the tables are at revision {revision}")


def _tell(console: Any, finding: Any) -> None:
    mark = console.style(finding.severity, fg=MARKS[finding.severity], bold=True)
    click.echo(f"{mark}: {finding.about}\n    {finding.risk}\n    mend: {finding.mend}")
