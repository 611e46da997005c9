"""Somebody's plain tasks, under our claims."""

from __future__ import annotations

import os
import signal
import uuid
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery import Celery, shared_task
from celery.exceptions import Ignore

import ctxqueue
from tests.integration.apps.common import TaskClass, hold, note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


class House(TaskClass):
    """A project's class that goes by Celery's own call, which lays an empty request over the message's."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


@shared_task(name="shared", acks_late=True)
@ctxqueue.claimed
def shared(what: str) -> str:
    """Is shared by all apps of this process; it answers as a model does."""
    return f"{what}-{uuid.uuid4()}"


def passing(body: Any) -> Any:
    """Decorate, as others do."""

    @wraps(body)
    def passed(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    return passed


def _others(app: Celery, options: dict[str, Any]) -> None:
    @app.task(name="looks around", **options)
    @ctxqueue.claimed
    def looks_around() -> Any:
        ctxqueue.current().update({"log": ["here"]}, merge_strategy="append")
        return ctxqueue.current()["log"]

    @app.task(name="ignores", **options)
    @ctxqueue.claimed
    def ignores(what: str) -> None:
        note(app, f"ran:{what}", 1)
        raise Ignore

    @app.task(name="deadly", **options)
    @ctxqueue.claimed
    def deadly() -> None:
        note(app, "ran:deadly", os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    app = Celery("claimed", set_as_current=False)
    app.config_from_object(dict(settings))
    ctx = ctxqueue.install(app)
    app.finalize()
    options: dict[str, Any] = {"shared": False, "acks_late": True, "reject_on_worker_lost": True}

    @app.task(name="drawn", **options)
    @ctxqueue.claimed
    def drawn(what: str, *, more: int = 0) -> list[Any]:
        note(app, f"ran:{what}", more)
        return [what, str(uuid.uuid4()), more]

    @app.task(name="bound", bind=True, base=House, **options)
    @ctxqueue.claimed
    def bound(self: Any, what: str) -> list[Any]:
        note(app, f"ran:{what}", self.request.id)
        return [self.request.id, str(uuid.uuid4())]

    def over(what: str) -> str:
        note(app, f"ran:{what}", 1)
        return f"{what}-{uuid.uuid4()}"

    declare: Any = app.task(name="over", **options)
    ctxqueue.claimed(declare(over))

    @app.task(name="stubborn", bind=True, autoretry_for=(LookupError,), retry_kwargs={"countdown": 0.05}, **options)
    @ctxqueue.claimed
    def stubborn(self: Any, what: str) -> int:
        note(app, f"ran:{what}", self.request.retries)
        if self.request.retries < 2:
            raise LookupError(what)
        return int(self.request.retries)

    @app.task(name="writes", bind=True, **options)
    @ctxqueue.claimed
    def writes(self: Any, workflow_id: str, name: str) -> str:
        note(app, f"ran:{name}", self.request.id)
        answer = str(uuid.uuid4())
        ctx.workflow(workflow_id, agent_id="plain_1").update({"log": [answer]}, merge_strategy="append")
        hold(app, name)
        return answer

    @app.task(name="decorated", **options)
    @passing
    @passing
    @ctxqueue.claimed
    def decorated(what: str) -> list[str]:
        note(app, f"ran:{what}", 1)
        return [what, str(uuid.uuid4())]

    @app.task(name="fails", **options)
    @ctxqueue.claimed
    def fails(what: str) -> None:
        note(app, f"ran:{what}", 1)
        raise LookupError(f"{what} {uuid.uuid4()}")

    _others(app, options)
    return ctx
