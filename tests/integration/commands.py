"""``celery -A proj ctx ...`` in this process: a second less than a process of its own, each time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.bin.base import CLIContext
from celery.bin.celery import celery
from click.testing import CliRunner

from ctxqueue.integration.cli import ctx

if TYPE_CHECKING:
    from celery import Celery


class Told(NamedTuple):
    """What a command wrote, and its status."""

    status: int
    stdout: str
    stderr: str

    def rows(self) -> list[dict[str, Any]]:
        """Return what ``--json`` listed."""
        assert self.status == 0, self
        return [json.loads(line) for line in self.stdout.splitlines()]


def told(app: Celery, *arguments: str, given: str | None = None) -> Told:
    """Run ``ctx`` on an app; ``given`` is its standard input."""
    context = CLIContext(app=app, no_color=True, workdir=None)
    result = CliRunner().invoke(ctx, arguments, obj=context, input=given)
    return _told(result)


def told_as_typed(*arguments: str) -> Told:
    """Run ``celery`` with these arguments."""
    return _told(CliRunner().invoke(celery, arguments))


def _told(result: Any) -> Told:
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Told(result.exit_code, result.stdout, result.stderr)
