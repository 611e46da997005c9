"""Runs as a worker sees them: what `Attempts` and `Parking` carry out in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from ctxqueue.context import SharedContextManager
from ctxqueue.drivers import Driver
from ctxqueue.effects import Position, Promise, Renew, do
from ctxqueue.flows import attempts, sweeping
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import Attempt
from ctxqueue.models import Agent
from ctxqueue.rules.conditions import as_condition
from ctxqueue.testing.contract.base import LIMIT, WORKFLOW

if TYPE_CHECKING:
    from ctxqueue.effects import Armed, Claimed, Outgoing
    from ctxqueue.rules.conditions import Condition

AGENT = Agent("analyst_001", groups=("audit",))
LONG = 10 * LIMIT
"""Seconds that a run may wait: what is released by its deadline alone is not to pass for what a write has released."""


class Answer(NamedTuple):
    """What a claim was answered, the keys that are missing, and the attempt if there is one."""

    claimed: Claimed
    missing: tuple[str, ...]
    attempt: Attempt

    @property
    def word(self) -> str:
        """run, timeout, stale, standby, parked, done or failed."""
        return self.claimed.answer


class Worker:
    """One process of an app: claims, parks and finishes runs, and publishes what the outbox holds for its app."""

    def __init__(
        self,
        url: str,
        *,
        app: str = "app",
        lease: float = 30.0,
        horizon: float = 3_600.0,
        idle_life: float = 3_600.0,
        broken: bool = False,
    ) -> None:
        """``broken``: the broker takes nothing."""
        self.manager = SharedContextManager(url, {"lease": lease, "horizon": horizon, "idle_life": idle_life})
        self.manager.terms = replace(self.manager.terms, app=app)
        self.manager.driver = Driver(self.manager.store, self._publish)
        self.broken = broken
        self.published: list[bytes] = []
        """Messages, in the order in which the broker took them."""
        self.asked: list[bytes] = []
        """Messages that the store has asked for when their runs were claimed."""

    def _publish(self, items: tuple[Outgoing, ...]) -> tuple[str, ...]:
        if self.broken:
            return ()
        self.published += [item.message for item in items]
        return tuple(item.item_id for item in items)

    def claim(
        self,
        run: str,
        *,
        retries: int = 0,
        leg: int = 0,
        needs: str | Condition | None = None,
        workflow_id: str = WORKFLOW,
        task_id: str = "",
        after_epoch: int = 0,
    ) -> Answer:
        """Begin an attempt; the message is ``run/retries.leg``."""
        terms = self.manager.terms
        position = Position(retries, leg)
        item = item_id(terms.app, workflow_id, run, position)
        ticket = attempts.Ticket(workflow_id, run, position, item, task_id, after_epoch)
        condition = as_condition(needs) if needs is not None else None

        def its_message() -> bytes:
            self.asked.append(message(run, retries, leg))
            return self.asked[-1]

        flow = attempts.claim(terms, ticket, AGENT, condition, its_message)
        claimed, missing, error = self.manager.driver.run(flow)
        if error is not None:
            raise error
        return Answer(claimed, missing, Attempt(run, retries, workflow_id, claimed.epoch))

    def claim_twice(self, run: str) -> Answer:
        """Claim a run, and again while that lease lives, so that the second delivery is kept; return the first.

        Where the lease ends in between, the second claim is the first of the next try, under a longer lease.
        """
        first = self.claim(run)
        while (second := self.claim(run)).word != "standby":
            first = second
            self.give_leases_of(2 * self.lease)
        return first

    def give_leases_of(self, seconds: float) -> None:
        """From now on."""
        settings = msgspec.structs.replace(self.manager.terms.settings, lease=seconds)
        self.manager.terms = replace(self.manager.terms, settings=settings)

    @property
    def lease(self) -> float:
        """How long an attempt has, in seconds."""
        return self.manager.terms.settings.lease

    def park(
        self, answer: Answer, needs: str | Condition, *, leg: int = 1, timeout: float = LONG, wait: str = ""
    ) -> tuple[Armed, tuple[str, ...]]:
        """Give the run to the store until what it needs is there; it is to come back as ``leg``.

        ``wait`` names a wait in the body.
        """
        terms = self.manager.terms
        attempt = answer.attempt
        item = item_id(terms.app, attempt.home, attempt.run_id, Position(attempt.retries, leg))
        following = message(attempt.run_id, attempt.retries, leg)
        flow = attempts.park(terms, attempt, AGENT, as_condition(needs), item, following, timeout, wait)
        return self.manager.driver.run(flow)

    def lacking(self, answer: Answer, needs: str | Condition, *, wait: str, timeout: float = LONG) -> attempts.Lacking:
        """Look what a wait in the body lacks."""
        terms, condition = self.manager.terms, as_condition(needs)
        return self.manager.driver.run(attempts.lacking(terms, answer.attempt, AGENT, condition, timeout, wait))

    def claim_and_park(self, run: str, needs: str | Condition, **arguments: Any) -> None:
        """Do what a task with unmet needs does first."""
        armed, _ = self.park(self.claim(run, needs=needs), needs, **arguments)
        assert armed.answer == "parked"  # noqa: S101 - part of a test

    def finish(
        self, answer: Answer, state: Literal["done", "failed", "retried"] = "done", outcome: bytes = b"result"
    ) -> bool:
        """End the attempt."""
        return self.manager.driver.run(attempts.finish(self.manager.terms, answer.attempt, state, outcome))

    def cancel(self, task_id: str) -> str:
        """Call off the run that a task is: cancelled, ended or unseen."""
        return self.manager.driver.run(attempts.cancel(self.manager.terms, task_id))

    def promise(
        self,
        run: str,
        *,
        retries: int = 0,
        leg: int = 0,
        wait: float | None = None,
        keep: float = 3_600.0,
        workflow_id: str = WORKFLOW,
    ) -> bool:
        """Do what a durable publish does first; it is sent after ``wait`` seconds, or a lease."""
        position = Position(retries, leg)
        item = item_id(self.manager.terms.app, workflow_id, run, position)
        effect = Promise(
            *(workflow_id, run, item, message(run, retries, leg)),
            wait_us=self.manager.terms.lease_us if wait is None else int(wait * 1_000_000),
            keep_us=int(keep * 1_000_000),
        )
        return self.manager.driver.run(do(effect))

    def renew(self, answer: Answer) -> bool:
        """Lengthen the attempt's lease."""
        attempt = answer.attempt
        effect = Renew(attempt.home, attempt.run_id, attempt.epoch, self.manager.terms.lease_us)
        return self.manager.driver.run(do(effect))

    def sweep(self) -> None:
        """Do what is due."""
        self.manager.cleanup_expired_contexts()

    def deliver(self) -> list[bytes]:
        """Publish what waits in the outbox; return all that was published since the last call."""
        self.manager.driver.run(sweeping.resend(self.manager.terms, 10_000))
        delivered = self.published[:]
        self.published.clear()
        return delivered


def message(run: str, retries: int, leg: int) -> bytes:
    """Return the message that enters a run at a position."""
    return f"{run}/{retries}.{leg}".encode()
