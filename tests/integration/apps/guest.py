"""Somebody's project: its own task classes, serialiser and settings, with ctxqueue moved in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.serialization import register

import ctxqueue
from tests.integration.apps.common import TaskClass, note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue

register("guest-json", json.dumps, json.loads, content_type="application/x-guest-json", content_encoding="utf-8")

CALLS: list[str] = []
"""What tasks of this process have gone through."""


class GuestTask(TaskClass):
    """The project's task class, which opens something around each call, as Flask's documentation has it."""

    abstract = True
    house = "guest's"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        CALLS.append(f"enter {self.name}")
        try:
            return super().__call__(*args, **kwargs)
        finally:
            CALLS.append(f"leave {self.name}")


class OtherTask(TaskClass):
    """A class that only some tasks have."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["wrapped", self.run(*args, **kwargs)]


def project(name: str = "guest", source: Any = "tests.integration.apps.guest_settings", **options: Any) -> Celery[Any]:
    """Make the project's app, without ctxqueue; ``source`` None leaves it unconfigured."""
    app = Celery(name, task_cls=GuestTask, set_as_current=False, **options)
    if source is not None:
        app.config_from_object(source, namespace="CELERY")

    @app.task(name="guest.plain", shared=False)
    def plain(number: int) -> int:
        return number + 1

    @app.task(name="guest.other", shared=False, base=OtherTask)
    def other(number: int) -> int:
        return number + 1

    return app


def move_in(app: Celery, **options: Any) -> ContextQueue:
    """Install ctxqueue, and declare tasks of agents."""
    ctx = ctxqueue.install(app, **options)

    @ctx.task(name="guest.agent", agent_type="analyst")
    def agent(self: Any, key: str) -> list[Any]:
        return [self.request.id, key, self.house]

    @ctx.task(name="guest.waiting", agent_type="analyst", needs="key")
    def waiting(self: Any) -> list[Any]:
        note(app, f"ran:{self.request.id}", CALLS[-1:])
        return [self.request.id, self.context["key"]]

    @ctx.task(name="guest.based", agent_type="analyst", base=OtherTask, acks_late=False, max_retries=5)
    def based(self: Any) -> Any:
        return self.request.id

    return ctx


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the project's app, all its settings namespaced."""
    named = {f"CELERY_{name.upper()}": value for name, value in settings.items()}
    return move_in(project(source=SimpleNamespace(**named)))
