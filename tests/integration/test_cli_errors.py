"""What a hurried person gets wrong at ``celery -A proj ctx``: one line, a status, and no traceback."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from tests.integration.apps import bare, parking
from tests.integration.commands import told, told_as_typed

ALONE: dict[str, Any] = {
    "sample_url": None,
    "broker_url": "memory://",
    "result_backend": "disabled://",
    "ctxqueue_backend_url": "memory://",
}


def on(**settings: Any) -> Any:
    return parking.build({**ALONE, **settings}).app


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("broker_url", "foo://x"),
        ("broker_url", "redis://:pa/s3cret@localhost:6379/0"),
        ("result_backend", "foo://"),
        ("result_backend", "redis://localhost/notadatabase"),
    ],
)
def test_a_url_that_is_none_is_a_finding_and_shows_nothing_of_its_password(setting: str, url: str) -> None:
    given = told(on(**{setting: url}), "check")
    assert given.status == 1
    assert f"at {setting}" in given.stdout
    assert "s3cret" not in given.stdout + given.stderr


def test_a_database_that_is_away_is_a_finding() -> None:
    given = told(on(ctxqueue_backend_url="postgresql://u:s3cret@127.0.0.1:1/x"), "check")
    assert (given.status, given.stdout.startswith("error: store at 127.0.0.1:1/x")) == (1, True)
    assert "s3cret" not in given.stdout + given.stderr


def test_no_such_command_names_one_that_is_close() -> None:
    given = told(on(), "chek")
    assert (given.status, "Did you mean check?" in given.stderr) == (2, True)


def test_no_app_and_one_without_ctxqueue() -> None:
    given = told(Celery("default", set_as_current=False), "check")  # Celery's own, where -A names none
    assert (given.status, given.stderr) == (2, "Error: which app? celery -A proj ctx ...\n")
    assert told_as_typed("-A", bare.__name__, "ctx", "check").status == 2
