"""``celery -A proj ctx ...``: commands that Celery's own program takes up.

A family of commands is one module here. To add a command: write it with `commands.command`, and enter its name and
module in `FAMILIES`; the module is loaded only when the command is called for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import handle_preload_options

from ctxqueue.integration import operating as _operating  # noqa: F401 - `celery inspect` asks only for what it knows
from ctxqueue.integration.cli.commands import Families

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES: Mapping[str, str] = {
    "audit": "auditing",
    "changes": "past",
    "check": "servers",
    "completion": "completing",
    "dead": "waiting",
    "delete": "entries",
    "diff": "past",
    "erase": "leaving",
    "export": "transfers",
    "exporter": "exporting",
    "get": "entries",
    "graph": "waiting",
    "history": "past",
    "import": "transfers",
    "memory": "memories",
    "migrate": "servers",
    "parked": "waiting",
    "policy": "policies",
    "put": "entries",
    "retention": "housekeeping",
    "rotate-keys": "keys",
    "show": "workflows",
    "stats": "workflows",
    "sweep": "housekeeping",
    "triggers": "waiting",
    "uninstall-check": "leaving",
    "unread": "workflows",
    "update": "entries",
    "watch": "watching",
    "workflows": "workflows",
}
"""Which module of this package holds which command, or group of commands."""


@click.group(name="ctx", cls=Families, families=FAMILIES, package=__name__)
@click.pass_context
@handle_preload_options
def ctx(_context: click.Context, **_options: Any) -> None:
    """Look into and look after the shared context of an app."""
