"""A signing key is taken out: what was armed and parked under it goes on while it is there, and one is told of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

import ctxqueue
from ctxqueue.effects import Position
from ctxqueue.flows import attempts
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import Attempt
from ctxqueue.integration import messages
from ctxqueue.models import Agent
from ctxqueue.rules.conditions import as_condition
from tests.integration.commands import told
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.integration.install import ContextQueue

    Make = Callable[..., ContextQueue]

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}


@pytest.fixture
def apps() -> Iterator[tuple[Make, list[str]]]:
    """Return what makes apps over one store, each with keys of its own, and which of their tasks have run."""
    url, made, ran = f"memory://{uuid.uuid4()}", [], []

    def install(keys: dict[str, bytes], **conf: Any) -> ContextQueue:
        app = Celery("signing", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.update(ctxqueue_backend_url=url, ctxqueue_signing_keys=keys, ctxqueue_lease=0.1, **conf)

        @app.task(name="note", shared=False)
        def note(what: str) -> None:
            ran.append(what)

        made.append(queue := ctxqueue.install(app))
        return queue

    yield install, ran
    for queue in made:
        queue.manager.close()


def armed(queue: ContextQueue) -> None:
    """Let a trigger, a subscription, a parked task and a stored update wait, signed by the newest key."""
    workflow, note = queue.workflow("q3", agent_id="ann_1"), queue.app.tasks["note"]
    workflow.open()
    workflow.when("key").then(note.s("fired"), timeout=600, on_timeout=note.s("late"))
    workflow.subscribe("other_*", note.s("told"))
    terms = queue.manager.terms
    first, second = (item_id(terms.app, "q3", "run", Position(0, leg)) for leg in (0, 1))
    message = messages.frozen(queue.app, "note", ("parked",), {"task_id": "run"})
    run, ticket = queue.manager.driver.run, attempts.Ticket("q3", "run", Position(0, 0), first)
    begun = run(attempts.claim(terms, ticket, Agent("ann_1"), None, lambda: message))
    attempt = Attempt("run", 0, "q3", begun.claimed.epoch)
    parked, _ = run(attempts.park(terms, attempt, Agent("ann_1"), as_condition("key"), second, message, 600))
    assert parked.answer == "parked"
    queue.enqueue_update("q3", "ann_1", {"k": 1}, coalesce=True)


def test_what_waits_is_counted_by_key_and_goes_on_while_the_key_is_there(apps: tuple[Make, list[str]]) -> None:
    installed, ran = apps
    armed(installed(OLD))
    newer = installed(OLD | NEW, task_always_eager=True)
    assert told(newer.app, "rotate-keys", "--json").rows() == [
        {"signing_key": "old", "state": "older", "triggers": 2, "parked": 1, "updates": 1},
        {"signing_key": "new", "state": "newest", "triggers": 0, "parked": 0, "updates": 0},
    ]
    assert "leave that key in until there are none" in told(newer.app, "rotate-keys").stdout
    newer.workflow("q3", agent_id="bob_2").put("other_1", 1)
    newer.workflow("q3", agent_id="bob_2").put("key", 1)
    assert sorted(ran) == ["fired", "parked", "told"]
    rows = told(newer.app, "rotate-keys", "--json").rows()
    assert (rows[0]["triggers"], rows[0]["parked"]) == (1, 0)  # the subscription stays


def test_what_is_left_under_a_key_that_was_taken_out_is_told_and_waits_for_it(
    apps: tuple[Make, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    installed, ran = apps
    armed(installed(OLD))
    without = installed(NEW)
    answer = told(without.app, "rotate-keys")
    assert answer.status == 1
    assert "signed by 'old', which this app does not have: 2 triggers and subscriptions, 1 parked" in answer.stdout
    assert without.workflow("q3", agent_id="bob_2").put("key", 1).version == 1
    assert "signed by key 'old', which this app does not have" in caplog.text
    assert ran == []
    assert without.manager.backlog().outbox > 0
    again = installed(OLD | NEW)
    again_due = again.app.tasks["ctxqueue.dependency_callbacks"]

    def is_sent() -> bool:
        again_due.apply().get()
        return again.manager.backlog().outbox == 0

    wait_until(is_sent, "what was kept back is sent")
    assert told(again.app, "rotate-keys").status == 0


def test_an_app_without_keys_has_nothing_to_tell(apps: tuple[Make, list[str]]) -> None:
    answer = told(apps[0]({}).app, "rotate-keys")
    assert (answer.status, "no keyring" in answer.stderr) == (1, True)
