"""Updates that wait in a workflow's inbox until a commit settles them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ctxqueue import effects as fx
from ctxqueue.stores.engine.held import Answer, Due, Entry, Inbox, Journaled, StoredUpdate, Wanted

if TYPE_CHECKING:
    from ctxqueue.stores.engine.held import Workflow
    from ctxqueue.stores.engine.state import State

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Inbox).decode


def of(workflow: Workflow) -> Inbox:
    """Return a workflow's inbox; `put_back` keeps what was changed in it."""
    return _decode(workflow.inbox) if workflow.inbox else Inbox()


def put_back(workflow: Workflow, inbox: Inbox) -> None:
    """Keep an inbox in its workflow, which the caller saves."""
    workflow.inbox = _encode(inbox)


def announced(state: State, workflow_id: str, inbox: Inbox, until_us: int) -> None:
    """Say until when the announced drain is left alone."""
    inbox.announced_us = until_us
    state.set_due({Due("inbox", workflow_id, ""): until_us})


def withdrawn(state: State, workflow_id: str, inbox: Inbox) -> None:
    """There is nothing to drain: no drain is announced, and nobody holds the inbox."""
    inbox.queued, inbox.announced_us = 0, 0
    inbox.drain_id, inbox.lease_us, inbox.crashes, inbox.careful = b"", 0, 0, 0
    state.clear_due([Due("inbox", workflow_id, "")])


def outgoing_of(update: StoredUpdate) -> fx.Outgoing:
    """Return an update's message."""
    return fx.Outgoing(update.item_id, update.message)


def enqueue(state: State, effect: fx.Enqueue) -> fx.Enqueued:
    """Store an update until it is settled."""
    held = state.hold(effect.workflow_id, Wanted(call=Entry(effect.owner, "")))
    workflow, now = held.workflow, held.now_us
    if workflow is None or workflow.removing:
        return fx.Enqueued("no_workflow")
    answer = held.journaled.answer if held.journaled else None
    if answer is not None and not answer.failure and answer.incarnation == workflow.incarnation:
        return fx.Enqueued("known")
    inbox = of(workflow)
    if state.updates(effect.workflow_id, [effect.update_id]):
        # Asked again, for the reply was lost: whoever asked has published no drain yet.
        return fx.Enqueued("send" if effect.queued and not inbox.drain_id else "stored")
    if workflow.closed_us:
        return fx.Enqueued("closed")
    if inbox.stored >= effect.limit:
        return fx.Enqueued("full")
    update = StoredUpdate(
        *(effect.update_id, effect.payload, effect.outgoing.item_id, effect.outgoing.message),
        *(now, effect.queued, now + effect.life_us if effect.life_us else 0),
    )
    inbox.stored += 1
    announce = False
    if effect.queued:
        inbox.queued += 1
        inbox.last += 1
        update.place = inbox.last
        announce = inbox.announced_us <= now
    else:
        update.remind_us = now + effect.lease_us
        state.set_due({Due("updates", effect.workflow_id, ""): update.remind_us}, sooner=True)
    if announce:
        inbox.item_id, inbox.message = effect.drain.item_id, effect.drain.message
        announced(state, effect.workflow_id, inbox, now + effect.lease_us)
    if answer is not None:
        state.forget_answer(effect.workflow_id, effect.owner)
    state.save_update(effect.workflow_id, update)
    put_back(workflow, inbox)
    state.save(workflow)
    return fx.Enqueued("send" if announce else "stored")


def find_update(state: State, effect: fx.FindUpdate) -> fx.Found:
    """Look for an update, and count an attempt at it if asked to."""
    place = Entry(effect.owner, "")
    if effect.attempt:
        held = state.hold(effect.workflow_id, Wanted(call=place))
    else:
        held = state.see(effect.workflow_id, (), call=place)
    workflow = held.workflow
    if workflow is None or workflow.removing:
        return fx.Found(head=False)
    answer = held.journaled.answer if held.journaled else None
    outcome = None
    if answer is not None and answer.failure:
        outcome = fx.Outcome(failure=answer.failure)
    elif answer is not None and answer.incarnation == workflow.incarnation:
        outcome = fx.Outcome(answer.revision, answer.addresses, answer.versions)
    update = state.updates(effect.workflow_id, [effect.update_id]).get(effect.update_id)
    if update is None:
        return fx.Found(head=True, outcome=outcome)
    if effect.attempt:
        update.attempts += 1
        state.save_update(effect.workflow_id, update)
    stored = fx.StoredUpdate(effect.update_id, update.payload, outgoing_of(update))
    return fx.Found(head=True, stored=stored, attempts=update.attempts, outcome=outcome, dead=update.about is not None)


def refused(state: State, workflow: Workflow, settling: fx.Settling, now_us: int, *, writes: bool) -> fx.Refused | None:
    """Return why a commit may not settle these updates."""
    if settling.drain_id and of(workflow).drain_id != settling.drain_id:
        return fx.Refused("not_the_drain")
    its_own_call = writes and not settling.drain_id
    owners = [settled.owner for settled in settling.settled if settled.kind != "kept" or its_own_call]
    answers = state.journaled(workflow.workflow_id, owners, now_us) if owners else {}
    answered = [
        str(ordinal)
        for ordinal, settled in enumerate(settling.settled)
        if (answer := answers.get(settled.owner)) is not None
        and (answer.failure or (settled.kind != "kept" and answer.incarnation == workflow.incarnation))
    ]
    return fx.Refused("answered", ",".join(answered)) if answered else None


def settle(
    state: State, effect: fx.Commit, settling: fx.Settling, workflow: Workflow, versions: list[int], now_us: int
) -> tuple[tuple[fx.Outgoing, ...], int]:
    """Remember what came of updates and take them out. Return the committer's own reports, and how many wait on."""
    workflow_id = workflow.workflow_id
    for settled in settling.settled:
        if settled.kind != "kept":
            answer = _answer(effect, settled, workflow, versions, now_us)
            ends_us = now_us + effect.bounds.horizon_us
            state.journal(workflow_id, Entry(settled.owner, ""), Journaled(answer, 0), ends_us)
    inbox = of(workflow)
    there = state.updates(workflow_id, [settled.update_id for settled in settling.settled])
    inbox.stored -= len(there)
    inbox.queued -= sum(update.place is not None for update in there.values())
    if there:
        state.remove_updates(workflow_id, there.keys())
    if settling.drain_id:
        _go_on_or_end(state, workflow_id, inbox, now_us + settling.lease_us, settling.trim)
    put_back(workflow, inbox)
    reports = [settled.report for settled in settling.settled if settled.report is not None]
    ours = tuple(item for item in reports if effect.app and item.item_id.startswith(f"{effect.app}\0"))
    others = [item for item in reports if item not in ours]
    if ours:
        state.send(ours, now_us + effect.lease_us)
    if others:
        state.send(others, now_us)
    return ours, inbox.queued


def _answer(effect: fx.Commit, settled: fx.Settled, workflow: Workflow, versions: list[int], now_us: int) -> Answer:
    places = settled.places if settled.kind == "applied" else ()
    return Answer(
        *(settled.digest, workflow.revision, now_us, effect.commit_id),
        tuple(versions[ordinal] - later for ordinal, later in places),
        tuple(effect.writes[ordinal].address for ordinal, _ in places),
        workflow.incarnation,
        settled.failure if settled.kind == "failed" else b"",
    )


def _go_on_or_end(state: State, workflow_id: str, inbox: Inbox, until_us: int, trim: int) -> None:
    if not inbox.queued:
        withdrawn(state, workflow_id, inbox)
        return
    inbox.careful = max(0, inbox.careful - trim)
    inbox.lease_us, inbox.crashes = until_us, 0
    announced(state, workflow_id, inbox, until_us)
