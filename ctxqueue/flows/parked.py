"""Which tasks wait in a workflow, for what and since when; and how one is let go on without it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctxqueue.clock import instant
from ctxqueue.effects import WAKE, Fire, LoadParked, Outgoing, Position, do
from ctxqueue.errors import InvalidInput
from ctxqueue.flows.looking import judge_of
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.reading import etag
from ctxqueue.flows.surveying import checked_limit
from ctxqueue.models import Address, Page, ParkedTask, checked_name
from ctxqueue.rules.conditions import leaves_of
from ctxqueue.rules.dependencies import OF_PREFIX

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, ParkedRun
    from ctxqueue.flows.terms import Terms

CURSOR = re.compile(r"[!-~]{1,300}")


def parked(
    workflow_id: str, limit: int, cursor: str | None, *, messages: bool = False
) -> Flow[Page[tuple[ParkedTask, Outgoing]]]:
    """Return tasks that wait, in the store's order, with their messages if asked for; raises WorkflowNotFound.

    Triggers and callers that block wait in the same place, and are left out. A page may have more than ``limit`` items,
    or none and a cursor.
    """
    checked_limit(limit)
    if cursor is not None and not (isinstance(cursor, str) and CURSOR.fullmatch(cursor)):
        raise InvalidInput(f"cursor {cursor!r:.60} is not one that parked() returned")
    yield from etag(checked_name(workflow_id, "workflow_id"))
    runs, following = yield from do(LoadParked(workflow_id, cursor or "", limit, messages))
    found = tuple((_task(workflow_id, run), Outgoing(run.item_id, run.message)) for run in runs if is_task(run))
    return Page(found, following or None)


def release(terms: Terms, workflow_id: str, run_id: str, sent: Outgoing) -> Flow[bool]:
    """Send a task that waits on its way by another message of the stored one's name; False if it waits no more."""
    fired = yield from do(Fire(workflow_id, run_id, terms.app, terms.lease_us, sent.message, sent.item_id))
    yield from publish(terms, workflow_id, fired.outgoing)
    return bool(fired.fired)


def is_task(run: ParkedRun) -> bool:
    """Whether it is a task that waits, not a trigger or a caller that blocks."""
    return not run.item_id.startswith(WAKE) and Position.of_item(run.item_id).leg > 0


def _task(workflow_id: str, run: ParkedRun) -> ParkedTask:
    if run.judge:
        needs = [str(placed) for placed in leaves_of(judge_of(run.judge).condition)]
    else:
        needs = [Address.decode(encoded, of_global=False).key for encoded in run.addresses if encoded[0] != OF_PREFIX]
    deadline = instant(run.deadline_us) if run.deadline_us else None
    return ParkedTask(run.run_id, workflow_id, tuple(dict.fromkeys(needs)), instant(run.parked_us), deadline)
