"""What the app and its servers are like: ``check``, ``migrate``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ctxqueue.errors import CtxqueueError
from ctxqueue.integration.check import findings
from ctxqueue.integration.cli.commands import Misused, command
from ctxqueue.integration.cli.output import styled
from ctxqueue.integration.defaults import celery_defaults

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

MARKS = {"error": "red", "warning": "yellow"}


@command("check", example="celery -A proj ctx check --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings.")
def check(queue: ContextQueue, *, as_json: bool) -> None:
    """Say how the app, its broker, result backend and store could break a guarantee, and what mends it.

    Ends with status 1 if there is an error; warnings alone are status 0.
    """
    from ctxqueue.integration.setup import look  # noqa: PLC0415 - it needs a worker's modules

    found = findings(look(queue))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for finding in found:
            _tell(finding)
        errors = sum(finding.severity == "error" for finding in found)
        click.echo(f"{errors} errors, {len(found) - errors} warnings" if found else "nothing to mend")
        at_once = sum(finding.about.partition("[")[0] in celery_defaults() for finding in found)
        if at_once > 1:
            click.echo(f"app.conf.update(ctxqueue.celery_defaults()) mends {at_once} of them at once")
    sys.exit(int(any(finding.severity == "error" for finding in found)))


@command("migrate", example="celery -A proj ctx migrate")
def migrate(queue: ContextQueue) -> None:
    """Bring the tables of an SQL store up to date. Harmless when they are, and when several processes do it at once.

    On PostgreSQL it also makes an index of memories by pgvector, for the app's embedder, if the extension is there or
    may be created.
    """
    from ctxqueue.stores.base import is_sql  # noqa: PLC0415 - only this command needs it

    if not is_sql(queue.url):
        raise Misused("the store of this app is not an SQL database: there is nothing to migrate")
    from ctxqueue.stores.sql import index_vectors  # noqa: PLC0415
    from ctxqueue.stores.sql import migrate as upgraded  # noqa: PLC0415

    click.echo(f"the tables are at revision {upgraded(queue.url)}")
    if (
        queue.memory.memory_terms.index_from is None
    ):  # no PostgreSQL, or a keyring: vectors would tell what is encrypted
        return
    try:
        model = queue.memory.memory_terms.library().model
    except CtxqueueError as error:  # where no embedder is installed, nothing is searched either
        click.echo(f"memories have no index: {error}")
        return
    lacking = index_vectors(queue.url, model)
    click.echo(f"memories have no index: {lacking}" if lacking else f"memories of {model} have an index of pgvector")


def _tell(finding: Any) -> None:
    mark = styled(finding.severity, fg=MARKS[finding.severity], bold=True)
    click.echo(f"{mark}: {finding.about}\n    {finding.risk}\n    mend: {finding.mend}")


COMMANDS = {"check": check, "migrate": migrate}
