"""Conditions that are judged here: on values, on how many keys match, on what has become stale.

A run that waits for one is registered on all that it could come true by. Whoever writes such an address takes it off
and makes it due; then it is *watched anew, looked at, and left to rest*, in this order, so that a write after the look
makes it due again. Whoever looks may die: it stays due. What is judged is the state at the look, by what the agent that
waits may see then. A value that came and went before anybody could look was never there for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ctxqueue.effects import Fire, ForgetAfar, Rest, RestAfar, Rewatch, do, family_of
from ctxqueue.errors import DecryptionError, RecordTooNew, WorkflowNotFound
from ctxqueue.flows import recurring, subscriptions
from ctxqueue.flows.looking import AGAIN_US, Look, forget_afar, judge_of, watch_afar
from ctxqueue.flows.publishing import publish
from ctxqueue.rules.dependencies import watcher, watching_run

if TYPE_CHECKING:
    from ctxqueue.effects import Flow
    from ctxqueue.flows.looking import Afar
    from ctxqueue.flows.terms import Terms

logger = logging.getLogger(__name__)

LOOKS = 20
"""In a row, at what is written again and again; then it is left to the sweep."""


def judge(terms: Terms, workflow_id: str, name: str) -> Flow[int]:
    """Look at what a run waits for that was told of a write here; return how many were released.

    ``name`` is its own, or that of a run of another workflow.
    """
    of_another = watching_run(name)
    try:
        fired: int | None = yield from _judge(terms, *(of_another or (workflow_id, name)))
    except (DecryptionError, RecordTooNew) as error:  # the commit stands: its caller is not to pay for who waits
        logger.error("run %r in workflow %r stays due, for a process that can judge it: %s", name, workflow_id, error)  # noqa: TRY400
        return 0
    if fired is None and of_another is not None:
        yield from do(ForgetAfar(workflow_id, name))
    return fired or 0


def _judge(terms: Terms, workflow_id: str, run_id: str) -> Flow[int | None]:
    """Return how many were released, None if the run does not wait."""
    if family := family_of(run_id):
        each_time = subscriptions.judge if family.startswith(subscriptions.FAMILY) else recurring.judge
        return (yield from each_time(terms, workflow_id, run_id))
    watching = yield from do(Rewatch(workflow_id, run_id, (), terms.lease_us))
    for _ in range(LOOKS):
        if watching.answer == "gone":
            return None
        if watching.answer == "closed":  # its end tells the runs, and calls the triggers off
            return 0
        judged = judge_of(watching.judge)
        look = Look(terms, judged.condition, judged.agent, workflow_id)
        afar = yield from watch_afar(terms, look.watched, workflow_id, run_id)
        try:
            yield from look.look()
            holds = not look.false_leaves()
        except WorkflowNotFound:  # another one, that was removed: what it waits for there does not come
            holds = False
        if holds:
            yield from forget_afar(afar, workflow_id, run_id)
            return (yield from fire(terms, workflow_id, run_id))
        if look.watched[""].keys() == set(watching.addresses) and (
            yield from _rest(afar, workflow_id, run_id, watching.turn)
        ):
            return 0
        watching = yield from do(Rewatch(workflow_id, run_id, tuple(look.watched[""]), terms.lease_us))
    return 0


def _rest(afar: Afar, workflow_id: str, run_id: str, turn: int) -> Flow[bool]:
    for place, addresses in afar.items():
        if not (yield from do(RestAfar(place, watcher(workflow_id, run_id), addresses, AGAIN_US))):
            return False
    return (yield from do(Rest(workflow_id, run_id, turn)))


def fire(terms: Terms, workflow_id: str, run_id: str) -> Flow[int]:
    """Release a parked run; return how many were: none if somebody else has."""
    fired = yield from do(Fire(workflow_id, run_id, terms.app, terms.lease_us))
    yield from publish(terms, workflow_id, fired.outgoing)
    return int(fired.fired)
