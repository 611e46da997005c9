"""What the sample apps have in common: how they are made, and how their tasks and a test tell each other things."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery, Task

import ctxqueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue

    TaskClass = Task[..., Any]
else:
    TaskClass = Task  # generic only for type checkers

LONGEST_HOLD = 120
"""Seconds."""
RETRY_PAUSE = 0.05
"""Seconds. After none at all a retry may end before Celery writes RETRY, which then stands in the place of its end."""


def queue_of(name: str, settings: Mapping[str, Any]) -> ContextQueue:
    """Make an app of that name with ctxqueue in it."""
    app = Celery(name, set_as_current=False)
    app.config_from_object(dict(settings))
    return ctxqueue.install(app)


def note(app: Celery, name: str, what: object) -> None:
    """Leave something under a name; `Deployment.notes` reads it."""
    with redis.Redis.from_url(app.conf.sample_url) as client:
        client.rpush(f"notes:{name}", json.dumps(what, default=repr))


def hold(app: Celery, name: str) -> None:
    """Say that a task has come this far, and wait until `Deployment.let_go` lets it go on."""
    # Without a time-out of the socket, which is shorter than the hold.
    with redis.Redis.from_url(app.conf.sample_url, socket_timeout=None) as client:
        client.rpush(f"notes:held:{name}", "1")
        client.blpop([f"go:{name}"], timeout=LONGEST_HOLD)
