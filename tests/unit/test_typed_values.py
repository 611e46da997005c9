"""A value is read as the type that the reader asks for."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import date
from typing import Any, Literal, TypedDict

import pydantic
import pytest

import ctxqueue
from ctxqueue import InvalidInput, Secret


@dataclasses.dataclass
class Invoice:
    """One that nobody registered."""

    number: int
    due: date
    lines: list[str]


class Person(pydantic.BaseModel):
    """Likewise."""

    name: str
    born: date


class Rates(TypedDict):
    """What a dict must hold."""

    usd: float


@pytest.fixture
def workflow() -> ctxqueue.WorkflowHandle:
    handle = ctxqueue.connect("memory://").workflow("typed", agent_id="clerk_1")
    handle.open()
    return handle


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Invoice(7, date(2026, 9, 30), ["a", "b"]), Invoice),
        (Person(name="Ada", born=date(1815, 12, 10)), Person),
        ({"usd": 1.5}, Rates),
        ([1, 2], list[int]),
        (date(2026, 1, 1), date),
    ],
)
def test_it_comes_back_as_what_it_was(workflow: ctxqueue.WorkflowHandle, value: Any, kind: Any) -> None:
    workflow.put("key", value)
    entry = workflow.get("key", type=kind)
    assert entry is not None
    assert (entry.value, entry.version) == (value, 1)
    assert workflow.get("other", 5, type=kind) == 5
    untyped = workflow.get("key")
    assert untyped is not None
    assert not isinstance(untyped.value, Invoice | Person)


@pytest.mark.parametrize("kind", [Invoice, Person, Rates, int, list[int]])
def test_what_does_not_fit_is_refused_and_not_shown(workflow: ctxqueue.WorkflowHandle, kind: Any) -> None:
    workflow.put("key", {"number": "classified", "name": ["classified"], "usd": "classified"})
    with pytest.raises(InvalidInput, match="entry 'key' does not hold a") as refusal:
        workflow.get("key", type=kind)
    assert "classified" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("secret", ["classified", "classi'fied - at `$`", "classified\nor not"])
def test_what_is_none_of_those_allowed_is_not_shown(workflow: ctxqueue.WorkflowHandle, secret: str) -> None:
    workflow.put("key", [secret])
    with pytest.raises(InvalidInput, match=r"does not hold a .*: Invalid enum value") as refusal:
        workflow.get("key", type=list[Literal["plain"]])
    assert "classi" not in str(refusal.value)


def test_what_is_no_type_is_refused(workflow: ctxqueue.WorkflowHandle) -> None:
    workflow.put("key", 1)
    with pytest.raises(InvalidInput, match="type is 5"):
        workflow.get("key", type=5)


def test_a_secret_stays_one() -> None:
    operator = ctxqueue.connect("memory://").workflow("typed")
    operator.open()
    operator.put("password", {"usd": 1.5}, sensitive=True)
    for reveal in (False, True):
        entry = operator.get("password", type=Rates, reveal=reveal)
        assert entry is not None
        assert isinstance(entry.value, Secret) is not reveal


async def asynchronous(kind: Any) -> Any:
    async with await ctxqueue.aconnect("memory://") as manager:
        handle = manager.workflow("typed", agent_id="clerk_1")
        await handle.open()
        await handle.put("key", Invoice(7, date(2026, 9, 30), []))
        return await handle.get("key", type=kind)


def test_the_async_twin_does_the_same() -> None:
    assert asyncio.run(asynchronous(Invoice)).value == Invoice(7, date(2026, 9, 30), [])
