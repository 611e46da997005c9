"""Tasks that append unique names to shared lists, and say how far they are, so that a kill can be aimed and counted."""

from __future__ import annotations

import json
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import redis
from celery.signals import task_postrun, task_prerun

from ctxqueue import StoreUnavailable, key
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Celery

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.rules.conditions import Condition

PLACES = "chaos:places"
"""A hash: process id of a pool process -> how far it is, and the delivery tag of the message that it is at."""
ACKNOWLEDGED = "chaos:acknowledged"
"""A list: time and name of each update whose caller was told that it stands."""
DURABLE = "_durable"
"""Ends the names of those tasks whose messages the store keeps."""
STARTED, IN_BODY, COMMITTED, ENDED = "started", "in the body", "committed", "ended"


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("chaos", settings)
    app = ctx.app
    _report(app)

    @ctx.task(
        name="append_through",
        agent_type="writer",
        autoretry_for=(StoreUnavailable,),
        retry_kwargs={"max_retries": 40, "countdown": 0.5},
    )
    def append_through(self: Any, name: str) -> str:
        """Goes on trying until the store says that it stands; a retry's call is a new one but for its name."""
        self.context.update({"names": [name]}, merge_strategy="append", operation_id=name)
        _client(os.getpid(), app.conf.sample_url).rpush(ACKNOWLEDGED, json.dumps([time.time(), name]))
        return name

    _appending(ctx, "", durable=False)
    _appending(ctx, DURABLE, durable=True)
    return ctx


def _appending(ctx: ContextQueue, suffix: str, *, durable: bool) -> None:
    app = ctx.app

    def write(task: Any, name: str, seconds: float) -> None:
        say(app, IN_BODY, task.request)
        time.sleep(seconds)  # the work
        task.context.update({"names": [name]}, merge_strategy="append")
        say(app, COMMITTED, task.request)
        time.sleep(seconds / 4)  # the time between commit and ack, for kills to land in

    @ctx.task(name=f"append{suffix}", agent_type="writer", durable=durable)
    def append(self: Any, given: tuple[str, ...] = (), *, name: str, seconds: float) -> list[str]:
        write(self, name, seconds)
        return [*given, name]

    def its_key(*_given: Any, awaits: str, **_rest: Any) -> Condition:
        return key(awaits).exists()

    @ctx.task(name=f"append_when{suffix}", agent_type="writer", durable=durable, needs=its_key)
    def append_when(self: Any, given: tuple[str, ...] = (), *, name: str, seconds: float, awaits: str) -> list[str]:
        handle: WorkflowHandle = self.context
        assert handle[awaits] is True
        write(self, name, seconds)
        return [*given, name]

    @ctx.task(name=f"gather{suffix}", agent_type="writer", durable=durable)
    def gather(self: Any, given: list[list[str]], *, name: str, seconds: float) -> list[str]:
        write(self, name, seconds)
        return [*sorted(each for names in given for each in names), name]


def _report(app: Celery) -> None:
    @task_prerun.connect(weak=False)
    def started(task: Any, **_signal: Any) -> None:
        say(app, STARTED, task.request)

    @task_postrun.connect(weak=False)
    def ended(task: Any, **_signal: Any) -> None:
        say(app, ENDED, task.request)


def say(app: Celery, place: str, request: Any) -> None:
    """Say how far this process is. A killed one stays at what it said last."""
    if not request.called_directly:
        tag = (request.delivery_info or {}).get("delivery_tag") or request.properties["delivery_tag"]
        _client(os.getpid(), app.conf.sample_url).hset(PLACES, str(os.getpid()), f"{place}|{tag}")


@cache
def _client(_pid: int, url: str) -> redis.Redis:
    return redis.Redis.from_url(url)
