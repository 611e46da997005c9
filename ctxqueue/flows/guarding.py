"""Asking the write guards: before a commit, about what it would leave, in the order in which they stand.

Where a commit is tried again they are asked again, about what it would leave then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ctxqueue import codec
from ctxqueue.errors import CtxqueueError, GuardFailed, WriteRefused
from ctxqueue.rules.guards import Instead, Proposed

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Address, Agent
    from ctxqueue.rules.guards import Check, Guard

logger = logging.getLogger("ctxqueue.guards")


class Refusal(NamedTuple):
    """What the operator is told of a write that a guard did not let pass."""

    workflow_id: str
    key: str
    scope: str
    agent_id: str
    guard: str
    kind: Literal["refused", "failed"]


def log(refusal: Refusal) -> None:
    """Tell the log; of the value nothing is said."""
    logger.warning(
        "guard %r %s a write of %r (%s) by %s in workflow %r",
        *(refusal.guard, "refused" if refusal.kind == "refused" else "failed over"),
        *(refusal.key, refusal.scope, refusal.agent_id, refusal.workflow_id),
    )


def looked_at(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    address: Address,
    packed: bytes,
    metadata: Any,
    *,
    sensitive: bool,
    told: bool,
    operation: Literal["write", "delete"] = "write",
) -> Any:
    """Return `Instead` of the value, None if it stays as it is; raises WriteRefused, GuardFailed.

    Unless it is ``told``, which is for who has only guessed what stands there, the operator does not hear of it.
    """
    instead = None
    for guard in terms.guards.of(agent, address):
        if operation == "delete" and not guard.deletes:
            continue
        checks = guard.checks if operation == "write" else guard.checks[-1:]
        for check in checks:
            proposed = Proposed(workflow_id, address, agent, operation, packed, metadata or {}, sensitive=sensitive)
            try:
                answer = _answer(check, proposed)
                if answer is not None:
                    packed, instead = codec.pack(answer.value), answer
            except Exception as error:  # noqa: BLE001 - a team's own function may raise anything
                refusal = _refusal(guard, workflow_id, address, error)
                if told:
                    kind: Literal["refused", "failed"] = "failed" if isinstance(refusal, GuardFailed) else "refused"
                    terms.tell(Refusal(workflow_id, address.key, address.scope.value, agent.agent_id, guard.name, kind))
                # What a guard that fails says may hold what it looked at.
                raise refusal from None if sensitive or isinstance(refusal, WriteRefused) else error
    return instead


def _answer(check: Check, proposed: Proposed) -> Instead | None:
    answer = check(proposed)
    if answer is not None and (not isinstance(answer, Instead) or proposed.operation == "delete"):
        raise TypeError(f"a guard returns None or, of a write, Instead; not a {type(answer).__name__}")
    return answer


def _refusal(guard: Guard, workflow_id: str, address: Address, error: Exception) -> CtxqueueError:
    if isinstance(error, WriteRefused):
        return WriteRefused(
            f"guard {guard.name!r} refuses a write of {address.key!r} in workflow {workflow_id!r}: {error}; nothing was"
            " written",
            guard.name,
        )
    return GuardFailed(
        f"guard {guard.name!r} raised {type(error).__name__} over a write of {address.key!r} in workflow"
        f" {workflow_id!r}: nothing was written. Mend the guard, which raises WriteRefused where it means no"
    )
