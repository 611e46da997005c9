"""Another key for what is encrypted: ``rotate-keys``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ctxqueue.integration.cli.arguments import json_option
from ctxqueue.integration.cli.commands import command
from ctxqueue.integration.cli.output import one_out, plain, say
from ctxqueue.integration.signatures import signer_of
from ctxqueue.integration.signed import as_row, signed_by
from ctxqueue.memories.archives import rotate_archives

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue

PASSES = 10
"""At most: who writes meanwhile with a keyring of before brings new work for ever."""


@command("rotate-keys", example="celery -A proj ctx rotate-keys")
@json_option
def rotate_keys(queue: ContextQueue, *, as_json: bool) -> None:
    """Encrypt what stands in the store with the newest key, until a pass finds nothing to do.

    Archives of memories too, if ``ctxqueue_memory_archive`` names a folder. Then it tells what waits in the store by
    which signing key, so that one is taken out when nothing is left under it. Ends with status 1 if something does not
    open, is in clear where it may not be, or is signed by no key of the app's: it is left as it is.
    """
    refused = 0
    if signer_of(queue.app) is None or hasattr(queue.manager.store, "sealing"):
        refused += _encrypt(queue, as_json=as_json)
    refused += _tell_signed(queue, as_json=as_json)
    sys.exit(int(refused > 0))


def _tell_signed(queue: ContextQueue, *, as_json: bool) -> int:
    """Say what waits by which signing key; return how much of it will be refused."""
    refused = 0
    for each in signed_by(queue):
        number = each.triggers + each.parked + each.updates
        waiting = f"{each.triggers} triggers and subscriptions, {each.parked} parked tasks, {each.updates} updates"
        if each.state == "unknown":
            refused += number
        if as_json:
            one_out(as_row(each), as_json=True)
        elif each.state == "newest":
            say(f"signed by {each.key!r}, the newest key: {waiting}")
        elif each.state == "unknown":
            say(f"signed by {each.key!r}, which this app does not have: {waiting} will be refused; put that key back")
        elif number:
            say(f"signed by {each.key!r}: {waiting}; leave that key in until there are none")
        else:
            say(f"signed by {each.key!r}: nothing that waits; take it out once ctxqueue_signature_age has passed")
    return refused


def _encrypt(queue: ContextQueue, *, as_json: bool) -> int:
    """Encrypt anew; return how much was refused."""
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
    return refused


COMMANDS = {"rotate-keys": rotate_keys}
