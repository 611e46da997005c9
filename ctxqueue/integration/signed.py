"""By which keys what waits in the store is signed: a key can be taken out once nothing is left under it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ctxqueue.effects import WAKE, LoadParked, LoadTriggers, LoadUpdates, do, family_of
from ctxqueue.errors import CtxqueueError
from ctxqueue.flows import signatures as kept
from ctxqueue.flows import stored
from ctxqueue.flows.parked import is_task
from ctxqueue.flows.recurring import FAMILY
from ctxqueue.integration import messages
from ctxqueue.integration.signatures import signer_of
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.settings import MAX_PAGE
from ctxqueue.signing import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.effects import Flow, KeptTrigger
    from ctxqueue.integration.install import ContextQueue

WAITING = ("ARMED", "RUNNING", "RUNNING_DIRTY")
UNSIGNED, DAMAGED = "(not signed)", "(not readable)"
KEYS_A_PAGE = 200
"""Messages of parked tasks that are read at once."""


class SignedBy(NamedTuple):
    """How much waits that one key has signed."""

    key: str
    state: str
    """newest: it signs. older: it verifies. unknown: the app does not have it, and what it has signed is refused."""
    triggers: int
    """Those that are armed, and subscriptions."""
    parked: int
    """Tasks that wait."""
    updates: int
    """Stored updates and dead letters."""


def signed_by(queue: ContextQueue) -> list[SignedBy]:
    """Go through all workflows, and return what waits by key; nothing where the app signs nothing.

    What is on its way (the outbox, messages at the broker) is not counted: that is over within the signatures' age.
    """
    signer = signer_of(queue.app)
    if signer is None:
        return []
    counts: Counter[tuple[str, str]] = Counter()
    cursor, more = None, True
    queue.manager.driver.run(_count(GLOBAL_WORKFLOW, counts))
    while more:
        page = queue.manager.workflows(limit=MAX_PAGE, cursor=cursor)
        for each in page:
            queue.manager.driver.run(_count(each.workflow_id, counts))
        cursor = page.next_cursor
        more = cursor is not None
    names = dict.fromkeys([*signer.names, *sorted(key for _, key in counts)])
    return [
        SignedBy(
            name,
            "newest" if name == signer.names[-1] else "older" if name in signer.names else "unknown",
            *(counts[kind, name] for kind in ("triggers", "parked", "updates")),
        )
        for name in names
    ]


def _count(workflow_id: str, counts: Counter[tuple[str, str]]) -> Flow[None]:
    cursor, more = "", True
    while more:
        triggers, cursor = yield from do(LoadTriggers(workflow_id, cursor, MAX_PAGE))
        counts.update(("triggers", key) for each in triggers if each.state in WAITING for key in _of_trigger(each))
        more = cursor != ""
    more = True
    while more:
        runs, cursor = yield from do(LoadParked(workflow_id, cursor, KEYS_A_PAGE, messages=True))
        tasks = (run for run in runs if is_task(run) and not run.item_id.startswith(WAKE))
        counts.update(("parked", _named(lambda run=run: messages.key_of(run.message))) for run in tasks)  # type: ignore[misc]
        more = cursor != ""
    more = True
    while more:
        updates, cursor = yield from do(LoadUpdates(workflow_id, cursor, KEYS_A_PAGE))
        counts.update(("updates", _named(lambda each=each: stored.key_of(each.payload))) for each in updates)  # type: ignore[misc]
        more = cursor != ""


def _of_trigger(trigger: KeptTrigger) -> set[str]:
    """Return the keys of a trigger's or subscription's canvases."""
    try:
        family = family_of(trigger.trigger_id)
        if not family or family.endswith(FAMILY):
            of_trigger = kept.kept_trigger(trigger.record)
            canvases = [of_trigger.canvas, of_trigger.late_canvas]
        else:
            canvases = [kept.kept_subscription(trigger.record).canvas]
    except (CtxqueueError, msgspec.MsgspecError):
        return {DAMAGED}
    return {_named(lambda canvas=canvas: messages.key_of(canvas)) for canvas in canvases if canvas}  # type: ignore[misc]


def _named(read: Callable[[], str]) -> str:
    try:
        return read() or UNSIGNED
    except CtxqueueError:  # counted under its own name
        return DAMAGED


def as_row(each: SignedBy) -> dict[str, Any]:
    """Return it for ``--json``."""
    return {"signing_key": each.key, **{name: getattr(each, name) for name in each._fields if name != "key"}}


__all__ = ["SignedBy", "as_row", "key_of", "signed_by"]
