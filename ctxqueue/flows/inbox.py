"""Stored updates, one by one: put into an inbox, carried out by a task of its own, looked after, replayed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ctxqueue.clock import instant
from ctxqueue.effects import (
    Bury,
    Enqueue,
    FindUpdate,
    Flow,
    Load,
    LoadDead,
    Open,
    Outcome,
    Outgoing,
    Publish,
    Revive,
    Settled,
    Settling,
    Wait,
    do,
)
from ctxqueue.errors import (
    AttemptSuperseded,
    CommitTooLarge,
    CtxqueueError,
    GuardFailed,
    InboxFull,
    InvalidInput,
    RecordTooNew,
    StaleOperation,
    StoreError,
    UpdateAbandoned,
    UpdatePending,
)
from ctxqueue.flows import auditing, stored, updating, writing
from ctxqueue.flows.committing import commit
from ctxqueue.flows.refusals import SettledAlready, closed_workflow, unknown_workflow
from ctxqueue.identity import Identified, new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Agent, CommitResult, DeadLetter, Page, Put, checked_name
from ctxqueue.rules import merging
from ctxqueue.settings import MAX_COMMIT_BYTES, MAX_COMMIT_KEYS, MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.effects import Found
    from ctxqueue.flows.stored import UpdateRef
    from ctxqueue.flows.terms import Terms

ATTEMPTS = 5
"""So often an update is begun without coming to an outcome before it is a dead letter."""
FIRST_LOOK = 0.005
LONGEST_LOOK = 0.25

State = Literal["PENDING", "APPLIED", "FAILED"]
NO_MESSAGE = Outgoing("", b"")


def checked(
    terms: Terms, workflow_id: str, agent: Agent, updates: Mapping[str, Any], merge_strategy: str, operation_id: str
) -> stored.UpdateRef:
    """Return the name of an update; raises InvalidInput for what is refused whatever stands there."""
    checked_name(workflow_id, "workflow_id")
    checked_name(operation_id, "operation_id")
    changes = updating.checked_changes(terms, workflow_id, agent, updates, merge_strategy)
    home = updating.home_of_all(workflow_id, changes)
    size = sum(len(change.packed) for change in changes)
    if len(changes) > MAX_COMMIT_KEYS or size > MAX_COMMIT_BYTES:
        raise CommitTooLarge(
            f"the update has {len(changes)} keys and {size} bytes of values: at most {MAX_COMMIT_KEYS} and"
            f" {MAX_COMMIT_BYTES}; split it"
        )
    return stored.UpdateRef(home, agent.agent_id, operation_id)


def checked_place(terms: Terms, agent: Agent, key: str, merge_strategy: str) -> None:
    """Raise InvalidName, UnknownStrategy, AccessDenied for what no value would make right."""
    merging.strategy(merge_strategy)
    writing.checked(terms, agent, key, Put(None))


def enqueue(
    terms: Terms,
    ref: UpdateRef,
    payload: bytes,
    *,
    outgoing: Outgoing = NO_MESSAGE,
    drain: Outgoing | None = None,
    life_us: int = 0,
) -> Flow[bool]:
    """Store an update until it is settled; with ``drain``, for the workflow's drain, which is published if need be.

    Return False if it was not stored because it has an outcome: of an operation that was made before. Raises
    InboxFull, WorkflowNotFound, WorkflowClosed. Whoever gave an update a message of its own publishes it now;
    whatever the broker loses is sent again.
    """
    effect = Enqueue(
        workflow_id=ref.home,
        update_id=ref.update_id,
        owner=ref.owner,
        payload=payload,
        queued=drain is not None,
        outgoing=outgoing,
        drain=drain or NO_MESSAGE,
        limit=terms.settings.inbox_limit,
        lease_us=terms.lease_us,
        life_us=life_us,
    )
    reply = yield from do(effect)
    if reply.answer == "no_workflow" and ref.home == GLOBAL_WORKFLOW:
        yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", terms.idle_us))
        reply = yield from do(effect)
    match reply.answer:
        case "no_workflow":
            raise unknown_workflow(ref.home)
        case "closed":
            raise closed_workflow(ref.home)
        case "full":
            raise InboxFull(
                f"{terms.settings.inbox_limit} updates wait in workflow {ref.home!r}: nothing was stored; try again"
                " later, start workers, or raise ctxqueue_inbox_limit"
            )
        case "send" if drain is not None:
            yield from do(Publish((drain,)))
        case "known" if outgoing.item_id and drain is not None:
            # Nobody will settle it any more, so nobody would report.
            yield from do(Publish((outgoing,)))
    return reply.answer != "known"


def carry_out(terms: Terms, ref: UpdateRef, allowed_attempts: int = ATTEMPTS) -> Flow[CommitResult]:
    """Do a stored update, or say again what came of it; raises its typed error, UpdateAbandoned, StaleOperation."""
    found = yield from _found(ref, attempt=True)
    if found.outcome is not None:
        if found.stored is not None and not found.outcome.failure:
            yield from settle(terms, ref, Settled(ref.update_id, ref.owner, "kept"))
        return _result(found.outcome)
    if found.stored is None:
        raise _forgotten(ref)
    if found.attempts > allowed_attempts:
        raise (yield from bury(terms, ref, found.stored.payload, found.attempts - 1, "its worker died each time"))
    try:
        return (yield from _tried(terms, ref, found.stored.payload))
    except SettledAlready:  # by its drain, or by another delivery of its message: there is one outcome
        return (yield from carry_out(terms, ref, allowed_attempts))


def _tried(terms: Terms, ref: UpdateRef, payload: bytes) -> Flow[CommitResult]:
    kept = Settling((Settled(ref.update_id, ref.owner, "kept"),))
    try:
        workflow_id, agent, strategy, updates = stored.unpacked(ref, payload, terms.signer)
        result = yield from updating.update(terms, workflow_id, agent, updates, strategy, ref.operation_id, kept)
    except (StoreError, AttemptSuperseded, RecordTooNew, GuardFailed):
        raise
    except CtxqueueError as error:
        yield from auditing.refused(terms, ref.home, Agent(ref.agent_id), error)
        failed = Settled(ref.update_id, ref.owner, "failed", failure=stored.packed_failure(error))
        yield from settle(terms, ref, failed)
        raise
    if result.replayed:
        yield from settle(terms, ref, kept.settled[0])
    return result


def _found(ref: UpdateRef, *, attempt: bool) -> Flow[Found]:
    found = yield from do(FindUpdate(ref.home, ref.update_id, ref.owner, attempt))
    if not found.head:
        raise unknown_workflow(ref.home)
    if found.dead and found.outcome is None:
        # What it came to has been forgotten, but it is to stay dead, however late its message comes.
        error = UpdateAbandoned(f"an update of workflow {ref.home!r} is dead letter {ref}; see replay_dead_letter")
        return msgspec.structs.replace(found, outcome=Outcome(failure=stored.packed_failure(error)))
    return found


def settle(terms: Terms, ref: UpdateRef, settled: Settled) -> Flow[None]:
    """Take an update out with what came of it; raises SettledAlready."""
    with Identified("settle", ref.home, ref.agent_id, [ref.update_id], None) as call:
        yield from commit(terms, ref.home, Agent(ref.agent_id), call, b"", (), settling=Settling((settled,)))


def _result(outcome: Outcome) -> CommitResult:
    if outcome.failure:
        raise stored.failure_of(outcome.failure)
    keys = (Address.decode(address, of_global=False).key for address in outcome.addresses)
    versions = dict(zip(keys, outcome.versions, strict=True))
    return CommitResult(outcome.revision, versions, replayed=True, attempts=1, fired=0)


def _forgotten(ref: UpdateRef) -> StaleOperation:
    return StaleOperation(f"update {ref} is not stored any more, and its outcome has been forgotten")


# --- what became of it -----------------------------------------------------------------------------------------


def state(ref: UpdateRef) -> Flow[State]:
    """Return where an update stands; raises StaleOperation once that is forgotten, WorkflowNotFound."""
    outcome = yield from _look(ref)
    return "PENDING" if outcome is None else "FAILED" if outcome.failure else "APPLIED"


def _look(ref: UpdateRef) -> Flow[Outcome | None]:
    found = yield from _found(ref, attempt=False)
    if found.outcome is None and found.stored is None:
        raise _forgotten(ref)
    return found.outcome


def wait(ref: UpdateRef, timeout: float) -> Flow[CommitResult]:
    """Wait for an update's outcome; raises UpdatePending after ``timeout`` seconds, and what `state` raises."""
    left, pause = timeout, FIRST_LOOK
    while True:
        outcome = yield from _look(ref)
        if outcome is not None:
            return replace(_result(outcome), replayed=False)
        if left <= 0:
            raise UpdatePending(f"update {ref} has no outcome after {timeout} s: it waits for a worker")
        step = min(left, pause * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads the callers
        yield from do(Wait(step))
        left, pause = left - step, min(LONGEST_LOOK, pause * 1.5)


# --- dead letters ----------------------------------------------------------------------------------------------


class About(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a dead letter. New fields go to the end, with a default."""

    at_us: int
    attempts: int
    reason: str
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(About).decode


def bury(
    terms: Terms, ref: UpdateRef, payload: bytes, attempts: int, reason: str, drain_id: bytes = b""
) -> Flow[UpdateAbandoned]:
    """Make an update a dead letter; return the error that says so."""
    error = UpdateAbandoned(
        f"an update of workflow {ref.home!r} was begun {attempts} times without an outcome ({reason}): it is dead"
        f" letter {ref}; see dead_letters({ref.home!r}), replay_dead_letter"
    )
    head, _ = yield from do(Load(ref.home, ()))
    about = About(head.now_us if head else 0, attempts, reason, len(payload))
    yield from do(
        Bury(
            workflow_id=ref.home,
            update_id=ref.update_id,
            owner=ref.owner,
            drain_id=drain_id,
            about=_encode(about),
            failure=stored.packed_failure(error),
            horizon_us=terms.bounds.horizon_us,
            reports=bool(drain_id),
        )
    )
    return error


def dead_letters(workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[DeadLetter]]:
    """Return updates that were set aside; raises WorkflowNotFound, InvalidInput."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit is {limit!r:.40}: give a whole number from 1 to {MAX_PAGE}")
    after = stored.UpdateRef.parse(cursor).update_id if cursor is not None else ""
    there, pairs = yield from do(LoadDead(checked_name(workflow_id, "workflow_id"), after, limit + 1))
    if not there:
        raise unknown_workflow(workflow_id)
    letters = []
    for update_id, packed in pairs[:limit]:
        about, ref = _decode(packed), stored.UpdateRef.of(workflow_id, update_id)
        letters.append(
            DeadLetter(
                str(ref), workflow_id, ref.agent_id, instant(about.at_us), about.attempts, about.reason, about.size
            )
        )
    return Page(tuple(letters), letters[-1].id if len(pairs) > limit else None)


def revive(letter_id: str, *, drop: bool) -> Flow[bool]:
    """Put a dead letter back to be tried, or drop it; False if there is none of this id."""
    ref = stored.UpdateRef.parse(letter_id)
    return (yield from do(Revive(ref.home, ref.update_id, ref.owner, drop)))
