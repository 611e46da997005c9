"""Who stores updates in an inbox and settles them, for the parts of the contract that are about that."""

# ruff: noqa: S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from ctxqueue import codec
from ctxqueue import effects as fx
from ctxqueue.flows import draining, inbox, stored
from ctxqueue.models import Agent
from ctxqueue.pending import PendingUpdate
from ctxqueue.testing.contract.base import WORKFLOW, Contract, until
from ctxqueue.testing.contract.runs import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.models import CommitResult

T = TypeVar("T")

DRAIN = fx.Outgoing(f"app\0{WORKFLOW}\0\0drain", b"drain")
ANN, BOB = "ann_1", "bob_1"


class Clerk(Worker):
    """A process that stores updates, and does the tasks that settle them."""

    def stored(
        self,
        updates: Mapping[str, Any],
        strategy: str = "smart_merge",
        *,
        operation: str,
        agent: str = ANN,
        queued: bool = False,
        reports: bool = False,
    ) -> PendingUpdate:
        """Store one; its own message is named after its operation."""
        terms = self.manager.terms
        ref = inbox.checked(terms, WORKFLOW, Agent(agent), updates, strategy, operation)
        payload = stored.packed(WORKFLOW, Agent(agent), updates, strategy)
        outgoing = fx.Outgoing("", b"")
        if reports or not queued:
            outgoing = fx.Outgoing(f"app\0{ref.home}\0{operation}\0update", operation.encode())
        flow = inbox.enqueue(terms, ref, payload, outgoing=outgoing, drain=DRAIN if queued else None)
        return PendingUpdate(self.manager.driver, ref, known=not self.manager.driver.run(flow))

    def queued(self, updates: Mapping[str, Any], *arguments: Any, **options: Any) -> PendingUpdate:
        """Store one for the drain."""
        return self.stored(updates, *arguments, queued=True, **options)

    def carry_out(self, update: PendingUpdate, attempts: int = inbox.ATTEMPTS) -> CommitResult:
        """Do what its task does."""
        return self.manager.driver.run(inbox.carry_out(self.manager.terms, stored.UpdateRef.parse(update.id), attempts))

    def drain(self, batches: int = 100) -> draining.Drained:
        """Do what the drain does."""
        return self.manager.driver.run(draining.drain(self.manager.terms, WORKFLOW, batches))

    def drain_but_first(self, act: Callable[[], object], batches: int = 10) -> draining.Drained:
        """Do what the drain does, and something else before its first commit."""
        return self._but_first(act, draining.drain(self.manager.terms, WORKFLOW, batches))

    def carry_out_but_first(self, act: Callable[[], object], update: PendingUpdate) -> CommitResult:
        """Do what its task does, and something else before its first commit."""
        return self._but_first(act, inbox.carry_out(self.manager.terms, stored.UpdateRef.parse(update.id)))

    def _but_first(self, act: Callable[[], object], flow: fx.Flow[T]) -> T:
        effect, acted = next(flow), False
        while True:
            if isinstance(effect, fx.Commit) and not acted:
                act()
                acted = True
            reply = None if isinstance(effect, fx.Wait) else self.manager.store.perform(effect)
            try:
                effect = flow.send(reply)
            except StopIteration as end:
                ended: T = end.value
                return ended

    def die_draining(self) -> None:
        """Take hold of the inbox and settle nothing; returns when somebody else may."""
        effect = fx.Draw(WORKFLOW, os.urandom(8), 100, draining.CAREFUL_AFTER, self.manager.terms.lease_us)
        until(lambda: self.manager.store.perform(effect).answer == "batch", "the inbox can be taken hold of")


def written_by_a_newer_worker(wf: WorkflowHandle, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a value of a form that is not known yet."""
    with monkeypatch.context() as newer:
        newer.setattr(codec, "pack", lambda _value: msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"new")))
        wf.put(key, 1)


class WithClerk(Contract):
    """A part of the contract that has a clerk."""

    @pytest.fixture
    def clerk(self, url: str, operator: WorkflowHandle) -> Iterator[Clerk]:
        """Return a process beside the manager."""
        assert operator.workflow_id == WORKFLOW
        clerk = Clerk(url, lease=0.05)
        yield clerk
        clerk.manager.close()
