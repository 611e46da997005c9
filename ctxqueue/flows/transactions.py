"""Writes that are staged, and go out as one commit: a call of one name, whatever its keys."""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ctxqueue.effects import Committed, Conflict, Flow, Wait, Write, do
from ctxqueue.errors import CommitTooLarge, EntryExists, InvalidInput, MixedWorkflows, VersionConflict
from ctxqueue.flows.auditing import told
from ctxqueue.flows.committing import check_size, commit
from ctxqueue.flows.loading import load
from ctxqueue.flows.reading import shown
from ctxqueue.flows.staging import Step, folded, is_merged
from ctxqueue.flows.updating import FIRST_BACKOFF, LONGEST_BACKOFF, MAX_ROUNDS, NEVER
from ctxqueue.flows.writing import digest_of, home_of, version_conflict
from ctxqueue.identity import Identified
from ctxqueue.models import CommitResult
from ctxqueue.records import Standing
from ctxqueue.settings import MAX_COMMIT_BYTES, MAX_COMMIT_KEYS

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.flows.writing import Change
    from ctxqueue.models import Agent

current: ContextVar[tuple[Transaction, ...]] = ContextVar("ctxqueue_transactions", default=())
"""Those whose block is open, the innermost last."""


class Transaction:
    """One agent's staged writes to one workflow. ``result`` is there once they are committed."""

    def __init__(self, terms: Terms, workflow_id: str, agent: Agent) -> None:
        self._terms = terms
        self._workflow_id = workflow_id
        self._agent = agent
        self._steps: dict[str, list[Step]] = {}
        self._order: list[Step] = []
        self.result: CommitResult | None = None

    def belongs_to(self, terms: Terms, workflow_id: str, agent: Agent) -> bool:
        """Whether the writes of such a handle are staged here."""
        return self._terms is terms and (self._workflow_id, self._agent) == (workflow_id, agent)

    def stage(self, *steps: Step) -> None:
        """Add writes, all or none; raises MixedWorkflows, CommitTooLarge, EntryExists, InvalidInput."""
        for step in steps:
            self._check(step)
        sizes = sum(len(step.change.packed) for step in (*self._order, *steps))
        keys = len(self._steps.keys() | {step.change.encoded for step in steps})
        if keys > MAX_COMMIT_KEYS or sizes > MAX_COMMIT_BYTES:
            raise CommitTooLarge(
                f"the transaction would have {keys} keys and {sizes} bytes of values: at most {MAX_COMMIT_KEYS} and"
                f" {MAX_COMMIT_BYTES}; split it"
            )
        for step in steps:
            together = [*self._steps.get(step.change.encoded, ()), step]
            if not is_merged(together):  # what they come to is known, and so is what does not go together
                folded(self._terms, self._workflow_id, self._agent, together, None, known=True)
        for step in steps:
            self._steps.setdefault(step.change.encoded, []).append(step)
            self._order.append(step)

    def drop(self) -> None:
        """Let go of what was staged."""
        self._steps.clear()
        self._order.clear()

    def _check(self, step: Step) -> None:
        key = step.change.address.key
        before = self._order[0] if self._order else step
        if home_of("", before.change.address.scope) != home_of("", step.change.address.scope):
            raise MixedWorkflows(
                f"{key!r} is of the global context or the workflow, and what was staged before it is not: make two"
                " transactions"
            )
        earlier = self._steps.get(step.change.encoded)
        if earlier is None or step.expected is None:
            return
        if step.kind != "create":
            raise InvalidInput(f"{key!r} was written in this transaction before: it has no version to expect")
        if earlier[-1].kind != "delete":
            raise EntryExists(f"{key!r} was written in this transaction before: use put or update to change it")

    def commit(self) -> Flow[CommitResult | None]:
        """Write all of it as one revision; nothing if nothing was staged.

        Raises VersionConflict, EntryExists, InvalidInput and what every commit raises; then nothing is written.
        """
        return (yield from told(self._terms, self._workflow_id, self._agent, self._committed))

    def _committed(self) -> Flow[CommitResult | None]:
        with Identified("transaction", self._workflow_id, self._agent.agent_id, (), None) as call:
            if not self._steps:
                return None  # its number in the run is taken all the same
            home = home_of(self._workflow_id, self._order[0].change.address.scope)
            # In one order, whatever the caller's.
            addresses = sorted(self._steps)
            changes = [step.change for step in self._order]
            kinds = ",".join(f"{step.kind}:{step.strategy}" for step in self._order)
            digest = digest_of(call, f"transaction {kinds}", changes)
            standing = _Standing(addresses, self._steps)
            yield from standing.guess(home)
            for rounds in range(1, MAX_ROUNDS + 1):
                writes = tuple(self._write(address, standing) for address in addresses)
                try:
                    check_size(writes)
                except CommitTooLarge:
                    if standing.is_known:
                        raise
                    # What a guess makes too large need not be: this may have been made before.
                    writes = tuple(standing.doubted(write) for write in writes)
                edges = {write.address: write.depends_on for write in writes if write.depends_on}
                reply, fired = yield from commit(self._terms, home, self._agent, call, digest, writes, edges)
                if isinstance(reply, Committed):
                    self.result = CommitResult(
                        reply.revision, self._versions(addresses, reply), reply.replayed, rounds, fired
                    )
                    return self.result
                yield from standing.learn(reply, home)
                self._check_expected(home, reply, standing)
                if rounds > 1:
                    pause = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**rounds)
                    yield from do(Wait(random.uniform(0, pause)))  # noqa: S311
        raise VersionConflict(
            f"a transaction in workflow {home!r} lost the race {MAX_ROUNDS} times: nothing was written"
        )

    def _write(self, address: str, standing: _Standing) -> Write:
        record = standing.records.get(address)
        known = address in standing.known
        there = Standing.of(record) if record is not None else None
        return folded(self._terms, self._workflow_id, self._agent, self._steps[address], there, known=known)

    def _versions(self, addresses: list[str], committed: Committed) -> dict[str, int]:
        """Return the versions by key; none if this is the outcome of a call that wrote other keys."""
        if committed.diverged:
            return {}
        keys = [self._steps[address][0].change.address.key for address in addresses]
        return dict(zip(keys, committed.versions, strict=True))

    def _check_expected(self, home: str, conflict: Conflict, standing: _Standing) -> None:
        for ordinal in (*conflict.records, *conflict.omitted):
            address = standing.addresses[ordinal]
            first = self._steps[address][0]
            if first.expected is None:
                continue
            record = standing.records.get(address)
            if first.expected == (Standing.of(record).stamp.version if record is not None else 0):
                continue  # it was a guess that was refused
            change: Change = first.change
            if first.kind == "create":
                raise EntryExists(f"{change.address.key!r} exists in workflow {home!r}: use put or update to change it")
            raise version_conflict(
                home, change, first.expected, shown(self._terms.policy, self._agent, change.address, record)
            )


class _Standing:
    """What stands at the addresses: guessed first, then known from refusals."""

    def __init__(self, addresses: list[str], steps: dict[str, list[Step]]) -> None:
        self.addresses = addresses
        self.records: dict[str, bytes | None] = {}
        self.known: set[str] = set()
        self._merged = [address for address in addresses if is_merged(steps[address])]

    def guess(self, home: str) -> Flow[None]:
        if self._merged:
            _, records = yield from load(home, self._merged)
            self.records.update(records)

    @property
    def is_known(self) -> bool:
        """Whether nothing is guessed any more."""
        return self.known.issuperset(self._merged)

    def doubted(self, write: Write) -> Write:
        """Return what is refused unless it was made before, where the write is by a guess."""
        if write.address in self.known or write.address not in self._merged:
            return write
        return Write("delete", write.address, expected_version=NEVER)

    def learn(self, conflict: Conflict, home: str) -> Flow[None]:
        for ordinal, record in conflict.records.items():
            self.records[self.addresses[ordinal]] = record
        if conflict.omitted:
            left = [self.addresses[ordinal] for ordinal in conflict.omitted]
            _, records = yield from load(home, left)
            self.records.update({address: records.get(address) for address in left})
        self.known.update(self.addresses[ordinal] for ordinal in (*conflict.records, *conflict.omitted))


def staging(terms: Terms, workflow_id: str, agent: Agent) -> Transaction | None:
    """Return the open transaction that takes the writes of such a handle, if there is one."""
    for transaction in reversed(current.get()):
        if transaction.belongs_to(terms, workflow_id, agent):
            return transaction
    return None


def staged(transaction: Transaction, answer: Any, *steps: Step) -> Flow[Any]:
    """Stage writes as a flow without effects."""
    transaction.stage(*steps)
    return answer
    yield  # it is a flow all the same
