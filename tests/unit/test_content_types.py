"""A message for one of our own tasks is written by the app's own serialiser, and refused where that is pickle."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

import ctxqueue
from ctxqueue.errors import ContentRefused
from ctxqueue.integration.headers import CONTENT_TYPE
from ctxqueue.integration.privacy import serialiser_of

NAME = "ctxqueue.drain_inbox"


@pytest.fixture
def task() -> Any:
    app = Celery("types", broker="memory://", backend="disabled://", set_as_current=False)
    app.conf.update(ctxqueue_backend_url="memory://", accept_content=["json", "pickle"], task_serializer="pickle")
    ctxqueue.install(app)
    app.finalize()
    return app.tasks[NAME]


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/data", "text/plain", ""])
def test_another_content_type_is_refused(task: Any, content_type: str) -> None:
    task.request_stack.push(Context({CONTENT_TYPE: content_type, "args": ["q3"], "kwargs": {}}, called_directly=False))
    try:
        with pytest.raises(ContentRefused, match=f"message for {NAME}"):
            task("q3")
    finally:
        task.request_stack.pop()


@pytest.mark.parametrize(
    ("own", "expected"), [("pickle", "json"), ("json", "json"), ("msgpack", "msgpack"), ("yaml", "yaml")]
)
def test_our_own_messages_are_the_apps_but_never_pickle(task: Any, own: str, expected: str) -> None:
    task.app.conf.task_serializer = own
    assert serialiser_of(task.app) == expected
