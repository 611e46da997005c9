"""Another key for what is encrypted: ``rotate-keys``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration.cli.arguments import json_option
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import one_out, plain, say
from ctxqueue.memories.archives import rotate_archives

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

PASSES = 10
"""At most: who writes meanwhile with a keyring of before brings new work for ever."""


@command("rotate-keys", example="celery -A proj ctx rotate-keys")
@json_option
def rotate_keys(queue: ContextQueue, *, as_json: bool) -> None:
    """Encrypt what stands in the store with the newest key, until a pass finds nothing to do.

    Archives of memories too, if ``ctxqueue_memory_archive`` names a folder. Ends with status 1 if something does not
    open, or is in clear where it may not be: it is left as it is.
    """
    for _ in range(PASSES):
        report = queue.manager.rotate_keys()
        if as_json:
            one_out(plain(report), as_json=True)
        else:
            say(
                f"{report.values} values and {report.memories} memories in {report.workflows} workflows are under the"
                f" newest key now; {report.left} go on under an older one until they end, {report.refused} were refused"
            )
        if not report.values and not report.memories:
            break
    refused = report.refused
    folder = queue.app.conf.get("ctxqueue_memory_archive")
    if folder:
        store: Any = queue.manager.store
        archives = rotate_archives(folder, queue.manager.terms.namespace, store.sealing.keyring)
        refused += archives.refused
        told = f"{archives.renewed} lines in {archives.files} archives; {archives.busy} of these are being written"
        click.echo(f"{told}, {archives.refused} lines were refused", err=as_json)
    sys.exit(int(refused > 0))


COMMANDS = {"rotate-keys": rotate_keys}
