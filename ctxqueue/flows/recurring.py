"""Triggers that fire each time: when their condition holds, and what it is about is not what it was the last time.

What was seen at the last firing is remembered as a fingerprint of versions, so a look that is repeated, by a sweep or
by two at once, fires nothing twice, and a write that nobody was told of is found by the next look. While what was sent
is not at its end nothing fires; its end is a look like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.clock import microseconds
from ctxqueue.effects import EndRun, EndTrigger, Firing, Outgoing, Position, Recur, RestAfar, Rewatch, do
from ctxqueue.envelopes import opened
from ctxqueue.errors import WorkflowNotFound
from ctxqueue.flows.looking import AGAIN_US, Look, forget_afar, judge_of, watch_afar
from ctxqueue.flows.publishing import item_id, publish
from ctxqueue.identity import derived_run_id
from ctxqueue.rules.dependencies import watcher
from ctxqueue.settings import MAX_TRIGGER_DEPTH

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, Watched
    from ctxqueue.flows.looking import Afar
    from ctxqueue.flows.terms import Canvases, Terms

FAMILY = "e"
"""Of triggers, behind what says whether they last."""
LOOKS = 20
"""In a row, at a condition whose addresses grow."""
RUN_LEASES = 10
"""Beyond the time that a task may be parked, until the end of what was sent is waited for no more."""
NAMED_KEYS = 200
"""In a cause, of those written last."""
LOOP = (
    f"it would be trigger {MAX_TRIGGER_DEPTH + 1} in a row, each fired by what the one before it sent: does its task"
    " write what it waits for?"
)


def depth_here(terms: Terms) -> int:
    """Return how many triggers in a row have led to what is done here, and one more."""
    return terms.canvases.depth() + 1 if terms.canvases is not None else 1


def watching(terms: Terms, workflow_id: str, trigger_id: str, addresses: tuple[str, ...] = ()) -> Flow[Watched]:
    """Begin a look at one of this process's app."""
    return (
        yield from do(
            Rewatch(workflow_id, trigger_id, addresses, terms.lease_us, terms.app, depth=depth_here(terms)),
        )
    )


def judge(terms: Terms, workflow_id: str, trigger_id: str, *, by_hand: bool = False) -> Flow[int | None]:
    """Look at a trigger, and fire it if that is due, or anyhow; None: nothing is to be told it at present."""
    watched = yield from watching(terms, workflow_id, trigger_id)
    for _ in range(LOOKS):
        if watched.answer in ("gone", "running"):
            return None
        canvases = terms.canvases
        if watched.answer != "watched" or canvases is None:
            return 0
        judged = judge_of(watched.judge)
        look = Look(terms, judged.condition, judged.agent, workflow_id, whole=True)
        afar = yield from watch_afar(terms, look.watched, workflow_id, trigger_id)
        try:
            yield from look.look()
            holds = not look.false_leaves()
        except WorkflowNotFound:  # another one, that was removed: what it waits for there does not come
            holds = False
        if look.watched[""].keys() == set(watched.addresses):
            return (yield from _conclude(terms, canvases, workflow_id, trigger_id, watched, look, afar, holds, by_hand))
        watched = yield from watching(terms, workflow_id, trigger_id, tuple(look.watched[""]))
    return 0


def _conclude(
    terms: Terms,
    canvases: Canvases,
    workflow_id: str,
    trigger_id: str,
    watched: Watched,
    look: Look,
    afar: Afar,
    holds: bool,  # noqa: FBT001 - what the look has come to
    by_hand: bool,  # noqa: FBT001 - see `judge`
) -> Flow[int]:
    for place, addresses in afar.items():  # what was written there meanwhile stays due there
        yield from do(RestAfar(place, watcher(workflow_id, trigger_id), addresses, AGAIN_US))
    seen = look.fingerprint()
    firing = None
    if by_hand or (holds and seen != opened(watched.notes)):
        depth = watched.depth or depth_here(terms)
        if depth > MAX_TRIGGER_DEPTH:
            yield from set_aside(workflow_id, trigger_id, LOOP)
            yield from forget_afar(afar, workflow_id, trigger_id)
            return 0
        running_us = microseconds(terms.settings.needs_timeout) + RUN_LEASES * terms.lease_us
        cause = cause_of(trigger_id, workflow_id, look)
        firing = fired(terms, canvases, workflow_id, trigger_id, watched.number + 1, cause, depth, running_us)
    notes = seen if firing is not None else watched.notes
    return (yield from recur(terms, workflow_id, trigger_id, watched.turn, notes, None, firing))


def cause_of(trigger_id: str, workflow_id: str, look: Look) -> dict[str, Any]:
    """Return why a trigger fires: what is there of what it waits for, and the newest commit among that."""
    latest = sorted(look.entries, key=lambda entry: entry.timestamp)[-NAMED_KEYS:]
    return {
        "trigger": trigger_id,
        "workflow": workflow_id,
        "revision": latest[-1].revision if latest else 0,
        "agent": latest[-1].agent_id if latest else "",
        "keys": sorted(entry.key for entry in latest),
    }


def fired(
    terms: Terms,
    canvases: Canvases,
    workflow_id: str,
    trigger_id: str,
    number: int,
    cause: dict[str, Any],
    depth: int,
    running_us: int = 0,
    agent_id: str = "",
    notice: bytes = b"",
) -> Firing:
    """Return what is sent by the n-th firing: the same message, of the same run, however often it is made."""
    run_id = derived_run_id(trigger_id, str(number))
    message = canvases.launch_again(workflow_id, trigger_id, run_id, number, cause, depth)
    item = item_id(terms.app, workflow_id, run_id, Position(0, 0))
    return Firing(run_id, Outgoing(item, message), running_us, agent_id, notice)


def recur(
    terms: Terms,
    workflow_id: str,
    trigger_id: str,
    turn: int,
    notes: bytes,
    due_us: int | None,
    firing: Firing | None,
) -> Flow[int]:
    """Write down what a look has come to; return how often it has fired.

    Nothing if another look has begun since, or it was told of a write: whoever does so looks after us.
    """
    reply = yield from do(Recur(workflow_id, trigger_id, turn, notes, due_us, firing, terms.app, terms.lease_us))
    if reply.answer != "done":
        return 0
    yield from publish(terms, workflow_id, reply.outgoing)
    return int(firing is not None)


def set_aside(workflow_id: str, trigger_id: str, reason: str) -> Flow[bool]:
    """Let one fire no more, and say why."""
    return (yield from do(EndTrigger(workflow_id, trigger_id, "FAILED", reason, armed=True)))


def run_ended(
    terms: Terms, workflow_id: str, trigger_id: str, number: int, parts: tuple[int, ...], of: int
) -> Flow[int]:
    """Parts of what a trigger has sent have ended; after the last one it may fire again, and does if it is due."""
    if not (yield from do(EndRun(workflow_id, trigger_id, number, parts, of, terms.lease_us))):
        return 0
    return (yield from judge(terms, workflow_id, trigger_id)) or 0
