"""What a hurried person gets wrong at ``celery -A proj ctx``: one line, a status, and no traceback."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue import SharedContextManager
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


@pytest.mark.parametrize(
    ("backend", "status", "says"),
    [
        ("redis://:s3cr3t@127.0.0.1:1/0", 3, "the result backend does not answer"),
        ("redis://:s3c#r3t@127.0.0.1:1/0", 2, "result_backend cannot be read"),
        ("foo://:s3cr3t@h", 2, "result_backend cannot be read"),
    ],
)
def test_a_result_backend_that_is_away_or_none_is_one_line(backend: str, status: int, says: str) -> None:
    given = told(on(result_backend=backend, redis_socket_connect_timeout=1), "parked", "cancel", "no-such-task")
    assert (given.status, given.stderr.count("\n")) == (status, 1)
    assert says in given.stderr
    assert "s3c" not in given.stderr


def test_an_unknown_workflow_is_told_of_in_the_words_of_a_terminal() -> None:
    given = told(on(), "show", "q3")
    assert given.stderr == (
        "Error: workflow 'q3' does not exist: ctx workflows lists those that do; put and update make one with --open\n"
    )


def test_a_check_says_what_mends_most_of_it_at_once() -> None:
    assert "app.conf.update(ctxqueue.celery_defaults()) mends " in told(on(), "check").stdout
    assert "celery_defaults" not in told(on(**ctxqueue.celery_defaults()), "check").stdout


@pytest.mark.parametrize(
    ("raised", "status", "says"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Error: it cannot be written: [Errno 28] No space left"),
    ],
)
def test_ctrl_c_and_a_full_disk_end_without_a_traceback(
    raised: BaseException, status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_given: object, **_named: object) -> None:
        raise raised

    monkeypatch.setattr(SharedContextManager, "workflows", ends)
    given = told(on(), "workflows")
    assert (given.status, given.stdout, given.stderr.startswith(says)) == (status, "", True)
    assert given.stderr.count("\n") == bool(says)
