"""Writes that wait for Django's transaction, in a Django project on SQLite."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.conf import settings
from django.db import connection, transaction

import ctxqueue
from ctxqueue import Put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ctxqueue.context import WorkflowHandle


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Django project with a table of orders."""
    database = tmp_path_factory.mktemp("django") / "db.sqlite3"
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}}
    settings.configure(DATABASES=databases, INSTALLED_APPS=[], USE_TZ=True)
    django.setup()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
    yield database
    connection.close()


@pytest.fixture
def wf() -> Iterator[WorkflowHandle]:
    with ctxqueue.connect("memory://") as manager:
        handle = manager.workflow("orders", agent_id="shop_1")
        handle.open()
        yield handle


def ordered(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [number])


def test_writes_run_after_the_commit_in_their_order(wf: WorkflowHandle) -> None:
    wf.put("old", 1)
    later = wf.on_commit()
    with transaction.atomic():
        ordered(1)
        later.put("order", 1, priority="high")
        later.update({"order": 2}, merge_strategy="replace")
        later.delete("old")
        later.set_agent_state(step=1)
        assert wf.get("order") is None
        assert wf["old"] == 1
    entry = wf.get("order")
    assert entry is not None
    assert (entry.value, entry.version, entry.priority.value) == (2, 2, "high")
    assert wf.get("old") is None
    assert wf.view().agent_state == {"step": 1}


class Locked:
    """Cannot be copied."""

    def __init__(self, number: int) -> None:
        self.number, self.lock = number, threading.Lock()

    def to_dict(self) -> dict[str, int]:
        return {"number": self.number}


def test_what_is_written_is_what_stood_there_at_the_call(wf: WorkflowHandle) -> None:
    later, rows, locked = wf.on_commit(), [1], Locked(1)
    with transaction.atomic():
        later.put("put", rows, metadata={"rows": rows})
        later.create("created", rows)
        later.update({"updated": rows, "with_options": Put(rows), "locked": {"it": locked}})
        later.set_agent_state(rows=rows)
        rows.append(2)
        locked.number = 2
    assert [wf[key] for key in ("put", "created", "updated", "with_options")] == [[1]] * 4
    assert wf["locked"] == {"it": {"number": 1}}
    entry = wf.get("put")
    assert entry is not None
    assert entry.metadata == {"rows": [1]}
    assert wf.view().agent_state == {"rows": [1]}


def test_what_must_not_be_there_is_refused_by_the_commit(wf: WorkflowHandle) -> None:
    with transaction.atomic():
        wf.on_commit().create("order", 1, priority="high")
        assert wf.get("order") is None
    assert wf["order"] == 1

    def again() -> None:
        with transaction.atomic():
            wf.on_commit().create("order", 2)

    with pytest.raises(ctxqueue.EntryExists):
        again()


def test_writes_are_lost_with_a_rollback(wf: WorkflowHandle) -> None:
    def rolled_back(key: str) -> None:
        with transaction.atomic():
            wf.on_commit().put(key, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rolled_back("order")
    assert wf.get("order") is None
    with transaction.atomic():
        wf.on_commit().put("outer", 1)
        with pytest.raises(ZeroDivisionError):
            rolled_back("inner")
    assert wf.get("outer") is not None
    assert wf.get("inner") is None


def test_without_a_transaction_they_run_at_once(wf: WorkflowHandle) -> None:
    wf.on_commit(using="default").update({"order": 1})
    assert wf["order"] == 1


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("put", ("", 1), ctxqueue.InvalidName),
        ("put", ("k", object()), ctxqueue.NotSerializable),
        ("create", ("k", object()), ctxqueue.NotSerializable),
        ("update", ({},), ctxqueue.InvalidInput),
        ("delete", ("",), ctxqueue.InvalidName),
    ],
)
def test_bad_input_is_refused_at_once(
    wf: WorkflowHandle, method: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with transaction.atomic(), pytest.raises(error):
        getattr(wf.on_commit(), method)(*arguments)


def test_what_the_store_refuses_is_raised_by_the_commit(wf: WorkflowHandle) -> None:
    def within_a_transaction() -> None:
        with transaction.atomic():
            wf.on_commit().put("order", 1, expected_version=7)

    with pytest.raises(ctxqueue.VersionConflict):
        within_a_transaction()


def test_without_django_the_error_says_what_to_install(wf: WorkflowHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "django.db.transaction", None)
    with pytest.raises(ctxqueue.ConfigurationError, match="pip install django"):
        wf.on_commit()
