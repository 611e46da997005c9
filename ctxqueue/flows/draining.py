"""The drain of a workflow's inbox: up to 100 updates a commit, each with an outcome of its own.

Only the drain that holds the inbox may trim it, and a commit trims what it settles. So whatever dies in between, each
update is settled once: either with its commit, or by the next drain, which reads it again.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ctxqueue.effects import (
    Commit,
    Committed,
    Conflict,
    Draw,
    Flow,
    LetGo,
    LoadGraph,
    Settled,
    Settling,
    Wait,
    do,
)
from ctxqueue.errors import CircularDependencyError, CtxqueueError, GuardFailed, RecordTooNew, VersionConflict
from ctxqueue.flows import auditing, quotas, stored, updating
from ctxqueue.flows.committing import NO_GRAPH, follow_up, named_circle
from ctxqueue.flows.folding import Fold, Made, NotInThisRound
from ctxqueue.flows.inbox import ATTEMPTS, bury
from ctxqueue.flows.loading import load
from ctxqueue.flows.refusals import closed_workflow, refusal
from ctxqueue.identity import Call, Identified
from ctxqueue.models import OPERATOR, Agent
from ctxqueue.rules.graph import circle

if TYPE_CHECKING:
    from ctxqueue.effects import Head, Refused, StoredUpdate
    from ctxqueue.flows.quotas import Held
    from ctxqueue.flows.terms import Terms

BATCH = 100
CAREFUL_AFTER = 2
"""Drains that died before updates are tried one by one."""
ROUNDS = 1_000
LONGEST_PAUSE = 0.05
GATHERING = 0.01
"""Seconds that a drain lets updates come together before it reads: a commit of ten costs little more than one of one,
and an inbox that is emptied at once has a drain published for each update."""


class Drained(NamedTuple):
    """What a drain did; ``more`` waits."""

    applied: int
    failed: int
    abandoned: int
    more: bool


def drain(terms: Terms, workflow_id: str, most_batches: int) -> Flow[Drained]:
    """Settle what waits in an inbox, until it is empty, another drain holds it, or so many batches are done."""
    drain_id = os.urandom(8)
    applied = failed = abandoned = 0
    full = False
    for _ in range(most_batches):
        if not full:
            yield from do(Wait(GATHERING))
        drawn = yield from do(Draw(workflow_id, drain_id, BATCH, CAREFUL_AFTER, terms.lease_us))
        if drawn.answer != "batch":
            return Drained(applied, failed, abandoned, more=False)
        if drawn.crashes >= ATTEMPTS:
            yield from _abandon(
                terms, workflow_id, drain_id, drawn.updates[0], drawn.crashes, "its drain died each time"
            )
            abandoned += 1
            continue
        full = len(drawn.updates) == BATCH
        batch = _Batch(terms, workflow_id, drain_id, list(drawn.updates))
        left = yield from batch.settle()
        applied, failed, abandoned = applied + batch.applied, failed + batch.failed, abandoned + batch.abandoned
        if not left:
            return Drained(applied, failed, abandoned, more=False)
    yield from do(LetGo(workflow_id, drain_id))
    return Drained(applied, failed, abandoned, more=True)


def _abandon(
    terms: Terms, workflow_id: str, drain_id: bytes, update: StoredUpdate, attempts: int, reason: str
) -> Flow[None]:
    ref = stored.UpdateRef.of(workflow_id, update.update_id)
    yield from bury(terms, ref, update.payload, attempts, reason, drain_id)


class _Batch:
    """Some updates on their way; those behind the ones that a commit settles are read again."""

    def __init__(self, terms: Terms, workflow_id: str, drain_id: bytes, updates: list[StoredUpdate]) -> None:
        self._terms = terms
        self._workflow_id = workflow_id
        self._drain_id = drain_id
        self._updates = updates
        self._outcomes: dict[str, Settled | Made] = {}
        """What is known of each before anything is merged: that it fails, has an outcome already, or can be tried."""
        self.applied = self.failed = self.abandoned = 0

    def settle(self) -> Flow[bool]:
        """Settle some updates, at least the first; return whether there may be more."""
        for update in self._updates:
            if update.update_id not in self._outcomes:
                self._outcomes[update.update_id] = yield from self._looked_at(update)
        for rounds in range(ROUNDS):
            held = (yield from quotas.held(self._terms, self._workflow_id)) if quotas.any_set(self._terms) else None
            head, records = yield from load(self._workflow_id, self._addresses())
            if head is None:
                return False
            if head.closed_us:
                self._fail_all(closed_workflow(self._workflow_id))
            try:
                fold, settled = self._folded(head, records, held)
            except _ReducerBroken as broken:
                yield from _abandon(
                    self._terms,
                    self._workflow_id,
                    self._drain_id,
                    broken.update,
                    1,
                    f"its merge raised {type(broken.__cause__).__name__}",
                )
                self.abandoned += 1
                return True
            reply = yield from self._committed(fold, settled, held.at if held else b"")
            if isinstance(reply, Committed):
                yield from follow_up(self._terms, self._workflow_id, reply)
                self.applied += sum(each.kind == "applied" for each in settled)
                self.failed += sum(each.kind == "failed" for each in settled)
                return reply.left > 0
            if isinstance(reply, Conflict):
                # The fewer, the less there is to lose the next race with.
                self._updates = self._updates[: max(1, len(self._updates) // 2)]
                pause = min(LONGEST_PAUSE, 0.001 * 2 ** min(rounds, 10))
                yield from do(Wait(random.uniform(0, pause)))  # noqa: S311 - only spreads the callers
            elif reply.reason in ("no_workflow", "not_the_drain"):
                return False
            else:
                self._refused(reply)
        self._fail_first(VersionConflict(f"an update in workflow {self._workflow_id!r} lost the race {ROUNDS} times"))
        return (yield from self.settle())

    def _looked_at(self, update: StoredUpdate) -> Flow[Settled | Made]:
        ref = stored.UpdateRef.of(self._workflow_id, update.update_id)
        report = update.outgoing if update.outgoing.item_id else None
        try:
            workflow_id, agent, strategy, updates = stored.unpacked(ref, update.payload, self._terms.signer)
            changes = updating.checked_changes(self._terms, workflow_id, agent, updates, strategy)
            return Made(ref, agent, strategy, sorted(changes, key=lambda change: change.encoded), report)
        except RecordTooNew:
            raise  # for a newer worker
        except CtxqueueError as error:
            yield from auditing.refused(self._terms, self._workflow_id, Agent(ref.agent_id), error)
            return _failed(ref, report, error)

    def _addresses(self) -> tuple[str, ...]:
        wanted = (self._outcomes[update.update_id] for update in self._updates)
        return tuple(
            dict.fromkeys(change.encoded for made in wanted if isinstance(made, Made) for change in made.changes)
        )

    def _folded(self, head: Head, records: dict[str, bytes], held: Held | None) -> tuple[Fold, list[Settled]]:
        """Lay the updates over each other, as many as one commit takes; return what comes of each."""
        fold = Fold(self._terms, self._workflow_id, head, records, held)
        settled: dict[str, Settled] = {}
        for update in self._updates:
            made = self._outcomes[update.update_id]
            if isinstance(made, Settled):
                settled[update.update_id] = made
                continue
            try:
                fold.add(made)
            except NotInThisRound:
                break
            except RecordTooNew:
                raise  # for a newer worker
            except Exception as error:
                if isinstance(error, CtxqueueError) and not isinstance(error, GuardFailed):
                    settled[update.update_id] = _failed(made.ref, made.report, error)
                    continue
                # A team's own reducer or guard: it may be mended, and the update replayed.
                if settled or fold.settled():
                    break
                raise _ReducerBroken(update) from error
            else:
                settled[update.update_id] = msgspec.structs.replace(NOT_YET, update_id=update.update_id)
        for each in fold.settled():
            settled[each.update_id] = each
        return fold, list(settled.values())

    def _committed(
        self, fold: Fold, settled: list[Settled], expected_head: bytes
    ) -> Flow[Committed | Conflict | Refused]:
        writes = fold.writes()
        graph = None
        if fold.edges:
            head, standing = yield from do(LoadGraph(self._workflow_id))
            circular = circle(standing | fold.edges, tuple(fold.edges))
            graph = NO_GRAPH if circular else head.graph if head else 0
            if circular:
                made = fold.first
                path = yield from named_circle(self._terms.policy, self._workflow_id, made.agent, circular, fold.edges)
                error = CircularDependencyError(
                    f"in workflow {self._workflow_id!r} {path} would be a circle of dependencies: nothing was written"
                )
                self._outcomes[made.ref.update_id] = _failed(made.ref, made.report, error)
        agent_id = next((write.steps[-1].agent_id for write in writes if write.steps), "")
        settling = Settling(tuple(settled), self._drain_id, len(settled), self._terms.lease_us)
        with Identified("drain", self._workflow_id, agent_id, [], None) as call:
            return (
                yield from auditing.committed(
                    Commit(
                        workflow_id=self._workflow_id,
                        agent_id=agent_id,
                        commit_id=os.urandom(8),
                        call=call,
                        digest=b"",
                        on_divergence="first",
                        writes=writes,
                        bounds=self._terms.bounds,
                        app=self._terms.app,
                        lease_us=self._terms.lease_us,
                        graph=graph,
                        settling=settling,
                        expected_head=expected_head,
                        origin=auditing.origin_of(self._terms, OPERATOR),
                    )
                )
            )

    def _refused(self, reply: Refused) -> None:
        """Change what the next round tries."""
        if reply.reason == "closed":
            return  # seen when the head is read again
        if reply.reason in ("graph_moved", "moved"):
            return
        if reply.reason == "answered":
            settled = list(self._outcomes)
            for ordinal in map(int, reply.detail.split(",")):
                made = self._outcomes[settled[ordinal]]
                if isinstance(made, Made):
                    kept = Settled(made.ref.update_id, made.ref.owner, "kept", report=made.report)
                else:
                    kept = msgspec.structs.replace(made, kind="kept")
                self._outcomes[settled[ordinal]] = kept
            return
        if len(self._updates) > 1:
            self._updates = self._updates[: len(self._updates) // 2]
            return
        error = refusal(reply, self._workflow_id, Call("operation", "", "", "", 0))
        if not isinstance(error, CtxqueueError):
            raise error
        self._fail_first(error)

    def _fail_all(self, error: CtxqueueError) -> None:
        for update_id, made in self._outcomes.items():
            if isinstance(made, Made):
                self._outcomes[update_id] = _failed(made.ref, made.report, error)

    def _fail_first(self, error: CtxqueueError) -> None:
        made = self._outcomes[self._updates[0].update_id]
        if isinstance(made, Made):
            self._outcomes[made.ref.update_id] = _failed(made.ref, made.report, error)


class _ReducerBroken(Exception):
    def __init__(self, update: StoredUpdate) -> None:
        self.update = update


NOT_YET = Settled("", "", "applied")
"""Holds an update's place until the fold says what comes of it."""


def _failed(ref: stored.UpdateRef, report: object, error: CtxqueueError) -> Settled:
    return Settled(
        ref.update_id,
        ref.owner,
        "failed",
        failure=stored.packed_failure(error),
        report=report,  # type: ignore[arg-type]
    )
